/** What of a deployment stands in serverless.yml and on its command line, and not in relay.yaml. */
import * as z from "zod";
import type { Problem } from "../../src/config.ts";

export interface Settings {
  readonly service: string;
  readonly stage: string;
  /** How the edge is reached: a function URL, or an HTTP API. */
  readonly http: "url" | "api";
  /** The KMS key that encrypts the secrets; "": AWS's own, which needs no right. */
  readonly kmsKeyArn: string;
  /** The SNS topic that alarms tell; "": none. No parameter of CloudFormation's: osls hands none on, so each deploy would take it away. */
  readonly alarmTopic: string;
}

/** A stage is part of the names of functions (at most 64 characters, with service and cluster) and of a bucket. */
const STAGE = /^[a-z](?:-?[a-z0-9]){0,19}$/;
const KEY = /^(?:arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key\/[0-9a-zA-Z-]+)?$/;
const TOPIC = /^(?:arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w-]+)?$/;
const settings = z.object({
  service: z.string(),
  stage: z
    .string()
    .regex(STAGE, "a stage has small letters, digits and single hyphens, begins with a letter, and has at most 20 characters"),
  http: z.enum(["url", "api"], "write url (a function URL, the default) or api (an HTTP API)"),
  kmsKeyArn: z.string().regex(KEY, "write the key's ARN, no alias: arn:aws:kms:…:key/…"),
  alarmTopic: z.string().regex(TOPIC, "write the ARN of an SNS topic: arn:aws:sns:…"),
});

export function readSettings(given: unknown): Settings | readonly Problem[] {
  const read = settings.safeParse(given);
  if (read.success) return read.data;
  return read.error.issues.map(({ path, message }) => ({
    path: path[0] === "stage" ? "--stage" : `--param ${String(path[0])}`,
    message,
    hint: null,
  }));
}
