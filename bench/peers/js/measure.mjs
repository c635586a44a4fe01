// Reads {kind, rules, contexts, seconds, repeats} and writes {us: [per event, each repeat], answers: [[names]]}.
import { readFileSync } from 'node:fs';

const work = JSON.parse(readFileSync(0, 'utf8'));

async function gorules(table) {
  const { ZenEngine, ZenDecisionContent } = await import('@gorules/zen-engine');
  const content = new ZenDecisionContent(Buffer.from(table));
  const engine = new ZenEngine({ loader: async () => content });
  return async (context) => (await engine.evaluate('rules', context)).result.map((row) => row.message);
}

async function jsonRules(rules) {
  const { Engine } = await import('json-rules-engine');
  const engine = new Engine(rules);
  engine.addFact('weighted-sum', async ({ a, factor, b }, almanac) => {
    const left = await almanac.factValue(a[0]);
    const right = await almanac.factValue(b[0]);
    return left[a[1]] + factor * right[b[1]];
  });
  return async (context) => (await engine.run(context)).events.map((event) => event.type);
}

const evaluate = await (work.kind === 'gorules' ? gorules(work.rules) : jsonRules(work.rules));
const answers = [];
for (const context of work.contexts) answers.push(await evaluate(context));
const us = [];
for (let k = 0; k < work.repeats; k++) {
  let done = 0;
  const start = process.hrtime.bigint();
  let elapsed = 0;
  while (elapsed < work.seconds) {
    for (const context of work.contexts) await evaluate(context);
    done += work.contexts.length;
    elapsed = Number(process.hrtime.bigint() - start) / 1e9;
  }
  us.push((elapsed / done) * 1e6);
}
process.stdout.write(JSON.stringify({ us, answers }));
