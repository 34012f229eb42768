/** Where an SQS-compatible queue is, from its URL and what the operator said beside it. */
import { RelayError } from "../../outcome.ts";

const AWS_HOST = /\.(?:amazonaws\.com(?:\.cn)?|api\.aws)$/;
/** As in sqs.eu-west-1.amazonaws.com, eu-west-1.queue.amazonaws.com, vpce-….sqs.eu-west-1.vpce.amazonaws.com: https://docs.aws.amazon.com/general/latest/gr/sqs-service.html */
const AWS_REGION_LABEL = /(?:^|\.)([a-z]{2}(?:-[a-z]+)+-\d)\./;
/** https://yandex.cloud/en/docs/message-queue/instruments/aws-cli */
const YANDEX_HOST = /\.yandexcloud\.net$|\.cloud\.yandex\.net$/;

type Env = Readonly<Record<string, string | undefined>>;

/** Region for the signature. Throws INTERNAL where none is known for a queue of AWS. */
export function regionOf(url: URL, explicit: string | null, env: Env): string {
  if (explicit !== null) return explicit;
  const host = url.hostname;
  const fromEnv = env["AWS_REGION"] ?? env["AWS_DEFAULT_REGION"];
  if (YANDEX_HOST.test(host)) return "ru-central1";
  if (!AWS_HOST.test(host)) return fromEnv ?? "us-east-1"; // others need one for the signature, and take any
  const region = AWS_REGION_LABEL.exec(host)?.[1] ?? fromEnv;
  if (region === undefined)
    throw new RelayError("INTERNAL", `the region of the queue at ${host} is unknown: set \`region:\` or AWS_REGION`);
  return region;
}

/**
 * The endpoint to call; null leaves it to the SDK and its AWS_ENDPOINT_URL.
 * Without either it is the URL's own origin, since private endpoints and other vendors live on hosts that the SDK does not know.
 */
export function endpointOf(url: URL, explicit: string | null, env: Env): string | null {
  if (explicit !== null) return explicit;
  return env["AWS_ENDPOINT_URL_SQS"] || env["AWS_ENDPOINT_URL"] ? null : url.origin;
}

/** `arn:aws:sqs:region:account:name`: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html */
export function partsOfArn(arn: string): { account: string; name: string } | null {
  const [, , service, , account, name] = arn.split(":");
  return service === "sqs" && account !== undefined && name ? { account, name } : null;
}
