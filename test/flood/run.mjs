/** `npm run flood -- [--minutes 10]` against dist/cli.js. */
import { runBundled } from "../support/bundled.mjs";

process.exitCode = await runBundled("test/flood/main.ts");
