/** The real parts by themselves: what every other scenario takes for granted. */
import { CustomObjectsApi, type KubernetesObject } from "@kubernetes/client-node";
import { ReceiveMessageCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { freePort, temporaryFolder } from "./parts/child.ts";
import { openCrane } from "./parts/crane.ts";
import { crds } from "./parts/crds.ts";
import { ELASTICMQ_ENV, startElasticMq } from "./parts/elasticmq.ts";
import { startKubeApiserver } from "./parts/kube-apiserver.ts";
import { startLambda } from "./parts/lambda-emulator.ts";
import { startRegistry } from "./parts/registry.ts";

test("a crane push to the registry is notified with the header that was asked for", async () => {
  const port = await freePort();
  const heard = new Promise<{ authorization: string | undefined; body: string }>((resolve) => {
    const sink = createServer((request, answer) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const body = Buffer.concat(chunks).toString();
        if (body.includes('"tag"')) resolve({ authorization: request.headers.authorization, body });
        answer.end();
      });
    });
    sink.listen(port, "127.0.0.1");
    onTestFinished(() => void sink.close());
  });
  const hook = { url: `http://127.0.0.1:${port}/`, headers: { Authorization: ["Bearer of good news"] } };
  const registry = await startRegistry({ hooks: [hook] });
  onTestFinished(() => registry.stop());
  const crane = await openCrane();
  const digest = await crane.push(`${registry.host}/deckhouse/modules/echo:main`);
  const { authorization, body } = await heard;
  expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(authorization).toBe("Bearer of good news");
  expect(JSON.parse(body)).toMatchObject({ events: [{ target: { repository: "deckhouse/modules/echo", tag: "main", digest } }] });
  expect(await registry.resolve("deckhouse/modules/echo", "main")).toBe(digest);
  expect(await registry.resolve("deckhouse/modules/echo", "other")).toBeNull();
});

test("ElasticMQ gives back what it was sent, and hides it", async () => {
  const queues = await startElasticMq();
  onTestFinished(() => queues.stop());
  const { url } = await queues.createQueue("dev");
  const credentials = { accessKeyId: ELASTICMQ_ENV.AWS_ACCESS_KEY_ID, secretAccessKey: ELASTICMQ_ENV.AWS_SECRET_ACCESS_KEY };
  const client = new SQSClient({ endpoint: queues.endpoint, region: ELASTICMQ_ENV.AWS_REGION, credentials });
  onTestFinished(() => client.destroy());
  await client.send(new SendMessageCommand({ QueueUrl: url, MessageBody: "a push" }));
  const first = await client.send(new ReceiveMessageCommand({ QueueUrl: url, VisibilityTimeout: 60 }));
  const second = await client.send(new ReceiveMessageCommand({ QueueUrl: url }));
  expect(url.startsWith(queues.endpoint)).toBe(true);
  expect(first.Messages?.map((message) => message.Body)).toEqual(["a push"]);
  expect(second.Messages ?? []).toEqual([]);
});

test("kube-apiserver keeps its objects over a kill, and knows a service account's rights", async () => {
  const kube = await startKubeApiserver();
  onTestFinished(() => kube.stop());
  await kube.apply(await crds("v1alpha2"));
  await kube.served("deckhouse.io", "v1alpha2", "modulepulloverrides");
  const namespace: KubernetesObject = { apiVersion: "v1", kind: "Namespace", metadata: { name: "nobody" } };
  const account: KubernetesObject = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "nobody", namespace: "nobody" } };
  await kube.apply([namespace, account, overrideOf("echo")]);
  const echo = { group: "deckhouse.io", version: "v1alpha2", plural: "modulepulloverrides", name: "echo" };
  const nobody = kube.config(await kube.serviceAccountToken("nobody", "nobody")).makeApiClient(CustomObjectsApi);
  await expect(nobody.getClusterCustomObject(echo)).rejects.toMatchObject({ code: 403 });
  await kube.kill();
  await kube.start();
  const admin = kube.config(kube.adminToken).makeApiClient(CustomObjectsApi);
  expect(await admin.getClusterCustomObject(echo)).toMatchObject({ spec: { imageTag: "main", scanInterval: "15s", rollback: false } });
});

test("the Lambda emulator runs a handler, tells its errors and its timeout", async () => {
  const folder = await temporaryFolder("handler");
  onTestFinished(() => folder.remove());
  const bundle = join(folder.path, "echo.mjs");
  const handler = `export const handler = async (event, context) => {
    if (event.fail) throw new RangeError("as asked");
    if (event.hang) await new Promise((resolve) => setTimeout(resolve, 60_000));
    return { event, name: context.functionName, secret: process.env.SECRET, timely: context.getRemainingTimeInMillis() <= 2000 };
  };`;
  await writeFile(bundle, handler);
  const lambda = await startLambda({ bundle, env: { SECRET: "told" }, timeoutSeconds: 2 });
  onTestFinished(() => lambda.stop());
  expect(await lambda.invoke({ a: 1 })).toEqual({ event: { a: 1 }, name: "echo", secret: "told", timely: true });
  await expect(lambda.invoke({ fail: true })).rejects.toThrow("as asked");
  await expect(lambda.invoke({ hang: true })).rejects.toThrow("timed out");
  expect(await lambda.invoke({ a: 2 })).toMatchObject({ event: { a: 2 } });
});

function overrideOf(name: string): KubernetesObject & { spec: object } {
  return { apiVersion: "deckhouse.io/v1alpha2", kind: "ModulePullOverride", metadata: { name }, spec: { imageTag: "main" } };
}
