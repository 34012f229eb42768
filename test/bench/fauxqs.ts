/** A stand-in of SQS in a process of its own: `fauxqs.js <port> <file>`; the queue's URL is written to the file. */
import { writeFile } from "node:fs/promises";
import { startFauxqs } from "fauxqs";

const [, , port = "", file = ""] = process.argv;
const server = await startFauxqs({ port: Number(port), logger: false });
await writeFile(file, server.createQueue("bench").queueUrl);
