"""Fault 26: every call fails, and real clients retry by the service config that we ship: they must not multiply."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc

from engine.transport import Call, Code, RpcError, Unary, error_info
from engine.transport.http2 import Http2Transport
from tests.faults.line import DECIDE
from tests.faults.report import Report

CONFIG = Path(__file__).parents[2] / "docs" / "service_config.json"
_CHANNELS, _CALLS, _CALLS_LONG = 5, 200, 5000
_MOST = 1.1


async def run(long: bool = False) -> Report:
    """A thousand calls that fail, or 25,000; of each status that clients may retry."""
    report, calls = Report(26), _CALLS_LONG if long else _CALLS
    for code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED):
        attempts = 0

        async def fail(payload: bytes, call: Call, code: Code = code) -> bytes:
            nonlocal attempts
            attempts += 1
            raise RpcError(code, "no", [error_info("OVERLOADED")])

        transport = Http2Transport([Unary(DECIDE, fail)], "127.0.0.1", 0)
        address = await transport.start()
        options = (("grpc.service_config", CONFIG.read_text()), ("grpc.use_local_subchannel_pool", 1))
        channels = [grpc.aio.insecure_channel(address, options) for _ in range(_CHANNELS)]

        async def client(channel: grpc.aio.Channel, code: Code = code) -> int:
            failed = 0
            for _ in range(calls):
                try:
                    await channel.unary_unary(DECIDE)(b"", timeout=20)
                except grpc.aio.AioRpcError as error:
                    failed += error.code().name == code.name
            return failed

        failed = sum(await asyncio.gather(*(client(channel) for channel in channels)))
        for channel in channels:
            await channel.close()
        await transport.stop(1)
        amplification = attempts / (calls * _CHANNELS)
        report.must(failed == calls * _CHANNELS, f"{code.name}: {failed} calls failed as told")
        report.must(amplification <= _MOST, f"{code.name}: {attempts} attempts of {calls * _CHANNELS} calls")
        report.figures[code.name.lower()] = round(amplification, 3)
    return report
