/** The part of dynalite 4 that the tests use; the package brings no types. */
declare module "dynalite" {
  import type { Server } from "node:http";
  export default function dynalite(options: { createTableMs: number; deleteTableMs: number }): Server;
}
