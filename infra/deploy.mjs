/** `npm run deploy`, `npm run deploy:plan`, `npm run remove`: infra/deploy/main.ts, from the project's folder. */
import { fileURLToPath } from "node:url";
import load from "./typescript.cjs";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
process.exitCode = await load("deploy/main.ts").main(process.argv.slice(2));
