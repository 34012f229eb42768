/**
 * The Runtime API loop of a managed Node runtime, for one ES module with an async `handler`: take an invocation, run it, send its end.
 * https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 */
import { pathToFileURL } from "node:url";

const runtime = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime`;
const send = async (path, body) => {
  const answer = await fetch(`${runtime}/${path}`, { method: "POST", body: JSON.stringify(body ?? null) });
  await answer.arrayBuffer();
};
const describe = (error) => ({
  errorType: error?.name ?? "Error",
  errorMessage: String(error?.message ?? error),
  trace: [error?.stack ?? ""],
});

const load = async () => {
  const { handler } = await import(pathToFileURL(process.argv[2]).href);
  if (typeof handler !== "function") throw new TypeError("the bundle exports no handler");
  return handler;
};

const handler = await load().catch(async (error) => {
  await send("init/error", describe(error));
  throw error;
});

for (;;) {
  const invocation = await fetch(`${runtime}/invocation/next`);
  const header = (name) => invocation.headers.get(`lambda-runtime-${name}`);
  const id = header("aws-request-id");
  const deadline = Number(header("deadline-ms"));
  const context = {
    awsRequestId: id,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: "$LATEST",
    invokedFunctionArn: header("invoked-function-arn"),
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
  };
  try {
    await send(`invocation/${id}/response`, await handler(await invocation.json(), context));
  } catch (error) {
    await send(`invocation/${id}/error`, describe(error));
  }
}
