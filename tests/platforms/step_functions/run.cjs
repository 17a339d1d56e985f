// Run state machines one after another: the definition and the input are a line of standard input. Each call of a Task
// state is a line on standard output, {call, state, input}, and its answer a line on standard input, {call, output} or
// {call, error, message}. The last line of a machine on standard output is {output} or {error, cause}.
const readline = require("node:readline");

// Node.js 20 lacks the first, and Node.js 18 both.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((accept, refuse) => { resolve = accept; reject = refuse; });
  return { promise, resolve, reject };
};
AbortSignal.any ??= function (signals) {
  const controller = new AbortController();
  for (const signal of signals) signal.addEventListener("abort", () => controller.abort(signal.reason));
  return controller.signal;
};
const { StateMachine } = require("aws-local-stepfunctions");

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const send = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const waiting = new Map();
let calls = 0;

const call = (state) => (input) => {
  const { promise, resolve, reject } = Promise.withResolvers();
  waiting.set(++calls, { resolve, reject });
  send({ call: calls, state, input });
  return promise;
};

function answer({ call: number, output, error, message }) {
  const { resolve, reject } = waiting.get(number);
  waiting.delete(number);
  error === undefined ? resolve(output) : reject(Object.assign(new Error(message), { name: error }));
}

async function run({ definition, input, tasks, context }) {
  const machine = new StateMachine(definition);
  const execution = machine.run(input, {
    context,
    overrides: {
      taskResourceLocalHandlers: Object.fromEntries(tasks.map((state) => [state, call(state)])),
      waitTimeOverrides: { Wait: 0 },
      retryIntervalOverrides: Object.fromEntries(tasks.map((state) => [state, 0])),
    },
  });
  try {
    send({ output: await execution.result });
  } catch (error) {
    send({ error: error.cause?.name ?? error.name, cause: error.cause?.message ?? error.message });
  }
}

async function main() {
  for await (const line of lines) {
    const message = JSON.parse(line);
    message.definition === undefined ? answer(message) : run(message);
  }
  process.exit(0);
}

main();
