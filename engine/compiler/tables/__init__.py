"""Decision tables: CSV and XLSX grids, read, checked, analysed and compiled to expression trees."""
