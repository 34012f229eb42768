/** The part of autocannon 9 that the benchmark uses; the package brings no types. */
declare module "autocannon" {
  interface Options {
    url: string;
    connections: number;
    duration: number;
    method: "POST";
    headers: Record<string, string>;
    body: Buffer;
  }
  interface Result {
    errors: number;
    non2xx: number;
    duration: number;
  }
  interface Instance {
    on(event: "response", listener: (client: unknown, status: number, bytes: number, milliseconds: number) => void): void;
  }
  export default function autocannon(options: Options, done: (error: Error | null, result: Result) => void): Instance;
}
