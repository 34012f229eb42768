/** Requests to one API server: credentials, one kept TLS connection, a limit on time. Knows nothing of overrides. */
import { Agent as HttpsAgent } from "node:https";
import type { Agent as HttpAgent } from "node:http";
import { isDeepStrictEqual } from "node:util";
import type { CustomObjectsApi, KubeConfig, RequestContext } from "@kubernetes/client-node";
import { RelayError } from "../outcome.ts";
import type * as library from "./client-node.ts";
import type { Credentials } from "./credentials.ts";
import { cut, isDropped, isUnauthorized } from "./errors.ts";

// Idle connections go before the API server drops them (90 s in kube-apiserver), so that none is used while it is being closed.
const IDLE_MS = 45_000;
const MAX_SOCKETS = 16;
/**
 * A patch may take so many times as long: it passes admission, where a webhook that is away holds it for ten seconds before it counts as
 * passed. https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#timeouts
 */
const PATCH_PATIENCE = 3;

/** The core group's name. It has a root of its own, /api, which the client knows for each of its kinds alone: 30,000 lines of a bundle. */
export const CORE = "";
const asCore = (url: string) => url.replace("/apis//", "/api/");
/** Nor has it a call for a subresource of a custom object: it comes as a part of the plural, and no name holds a slash. */
const asPath = (url: string) => url.replaceAll("%2F", "/");

export class Connection {
  readonly #library: typeof library;
  readonly #credentials: Credentials;
  readonly #timeoutMs: number;
  #agent: { made: HttpsAgent; kept: HttpsAgent } | null = null;

  constructor(client: typeof library, credentials: Credentials, timeoutMs: number) {
    this.#library = client;
    this.#credentials = credentials;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Throws what the client throws. Tries once more after a 401, with credentials read anew (they may have been rotated), and when the
   * connection was cut: reads and our patches do no harm twice, since a patch that changes something holds a resourceVersion.
   */
  async call<T>(work: (api: CustomObjectsApi) => Promise<T>): Promise<T> {
    try {
      return await this.#attempt(work);
    } catch (thrown) {
      if (isUnauthorized(thrown)) this.#credentials.forget();
      else if (!isDropped(thrown)) throw thrown;
      return await this.#attempt(work);
    }
  }

  close(): void {
    this.#agent?.kept.destroy();
    this.#agent = null;
  }

  async #attempt<T>(work: (api: CustomObjectsApi) => Promise<T>): Promise<T> {
    const config = await this.#credentials.current();
    const { createConfiguration, CustomObjectsApi: Api, ServerConfiguration } = this.#library;
    // Not AbortSignal.timeout: its timer would keep every request, long answered, until its time is up.
    const limit = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const configuration = createConfiguration({
      baseServer: new ServerConfiguration(config.getCurrentCluster()?.server ?? "", {}),
      authMethods: { default: { getName: () => "relay", applySecurityAuthentication: (context) => this.#authenticate(config, context) } },
      promiseMiddleware: [
        {
          pre: async (context) => {
            const method: string = context.getHttpMethod();
            timer = setTimeout(() => limit.abort(), this.#timeoutMs * (method === "PATCH" ? PATCH_PATIENCE : 1));
            context.setSignal(limit.signal);
            context.setUrl(asPath(asCore(context.getUrl())));
            return context;
          },
          post: async (context) => context,
        },
      ],
    });
    return await work(new Api(configuration)).finally(() => clearTimeout(timer));
  }

  /** The client makes a new agent for every request, which reuses no connection: ours takes its place. */
  async #authenticate(config: KubeConfig, context: RequestContext): Promise<void> {
    try {
      await config.applySecurityAuthentication(context);
    } catch (thrown) {
      // A JSON parser's message quotes what it read: a plugin that prints its bare token, say.
      const why = thrown instanceof Error && !(thrown instanceof SyntaxError) ? cut(thrown.message) : "not readable";
      throw new RelayError("CLUSTER_UNAUTHORIZED", `the credential cannot be used: ${why}`);
    }
    const made = context.getAgent();
    if (made !== undefined) context.setAgent(this.#keep(made));
  }

  /** One agent until CA, certificate or server name change; the idle connections of the one before end by themselves. Proxies keep the client's. */
  #keep(made: HttpAgent): HttpAgent {
    if (!(made instanceof HttpsAgent) || made.constructor !== HttpsAgent) return made;
    if (this.#agent === null || !isDeepStrictEqual(this.#agent.made.options, made.options)) {
      const kept = new HttpsAgent({ ...made.options, keepAlive: true, timeout: IDLE_MS, maxSockets: MAX_SOCKETS });
      this.#agent = { made, kept };
    }
    return this.#agent.kept;
  }
}
