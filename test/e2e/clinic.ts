/** Where `mpo-relay doctor` is tried: a cluster with one module that is well, its registry behind a token service, and ElasticMQ. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startCluster } from "./cluster.ts";
import { temporaryFolder } from "./parts/child.ts";
import { openCrane } from "./parts/crane.ts";
import { startElasticMq } from "./parts/elasticmq.ts";
import { openKubectl } from "./parts/kubectl.ts";
import { startRegistry } from "./parts/registry.ts";
import { startTokenIssuer } from "./parts/token-issuer.ts";

/** `robot` may pull and push; `docker/config.json` in the folder holds its login. What has to be stopped goes into `stops`. */
export async function openClinic(name: string, robot: { username: string; password: string }, stops: (() => Promise<void>)[]) {
  const folder = await temporaryFolder(name);
  stops.push(() => folder.remove());
  const issuer = await startTokenIssuer(robot);
  stops.push(() => issuer.stop());
  const registry = await startRegistry({ hooks: [], token: issuer.auth });
  stops.push(() => registry.stop());
  const elasticmq = await startElasticMq();
  stops.push(() => elasticmq.stop());
  const cluster = await startCluster({ repo: `${registry.host}/deckhouse/modules`, modules: ["echo"] });
  stops.push(() => cluster.stop());
  const { kubectl, close } = await openKubectl(cluster.kube);
  stops.push(close);
  const ready = '{"status":{"phase":"Ready","conditions":[]}}'; // as of Deckhouse v1.66 on
  await kubectl("patch", "module", "echo", "--subresource=status", "--type=merge", "-p", ready);
  const uid = await kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}");
  const docker = join(folder.path, "docker");
  await mkdir(docker);
  const auth = Buffer.from(`${robot.username}:${robot.password}`).toString("base64");
  await writeFile(join(docker, "config.json"), JSON.stringify({ auths: { [registry.host]: { auth } } }), { mode: 0o600 });
  await (await openCrane({ dockerConfig: docker })).push(`${registry.host}/deckhouse/modules/echo:main`);
  return { folder, registry, elasticmq, cluster, kubectl, uid };
}
