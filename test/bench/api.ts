/** The sandbox's Kubernetes API in a process of its own: `api.js <port> <token> <file>`; the CA is written to the file. */
import { writeFile } from "node:fs/promises";
import { startKubernetesApi } from "../../src/sandbox/kubernetes-api.ts";

const [, , port = "", token = "", file = ""] = process.argv;
const api = await startKubernetesApi({ port: Number(port), token });
await writeFile(file, api.ca);
