/**
 * Parameters of AWS Systems Manager, for secrets by `ssm:NAME`. The only import of its SDK.
 * A secret of Secrets Manager is one too, as `ssm:/aws/reference/secretsmanager/NAME`:
 * https://docs.aws.amazon.com/systems-manager/latest/userguide/integration-ps-secretsmanager.html
 */
import { GetParameterCommand, ParameterNotFound, PutParameterCommand, SSMClient, SSMServiceException } from "@aws-sdk/client-ssm";

/** Of one call, which is tried twice: a sender waits behind it, the shortest for a second. */
const PATIENCE_MS = 400;

let client: SSMClient | null = null;

/**
 * null: there is no such parameter. Region, endpoint (AWS_ENDPOINT_URL_SSM) and credentials by the SDK's usual chain.
 * Throws an Error whose message is the reason's name, and no value.
 */
export async function parameterOf(name: string): Promise<string | null> {
  client ??= new SSMClient({ maxAttempts: 1, requestHandler: { connectionTimeout: PATIENCE_MS, requestTimeout: PATIENCE_MS } });
  const command = new GetParameterCommand({ Name: name, WithDecryption: true });
  for (let tries = 1; ; tries++) {
    try {
      return (await client.send(command)).Parameter?.Value ?? "";
    } catch (error) {
      if (error instanceof ParameterNotFound) return null;
      // Only what may heal: a refusal (AccessDeniedException, a wrong token) will be one again.
      if (tries === 2 || !mayHeal(error)) throw new Error(error instanceof Error ? error.name : "error", { cause: error });
    }
  }
}

/** Too many at once is a 400 there, by a name of its own: https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html */
function mayHeal(error: unknown): boolean {
  const status = error instanceof SSMServiceException ? error.$metadata.httpStatusCode : undefined;
  return status === undefined || status >= 500 || status === 429 || (error instanceof Error && error.name === "ThrottlingException");
}

/**
 * As a SecureString under the account's own key, in place of what it held. The SDK's usual tries and times: nobody waits behind it.
 * Throws an Error whose message is the reason's name, and no value.
 */
export async function writeParameter(name: string, value: string): Promise<void> {
  try {
    await new SSMClient().send(new PutParameterCommand({ Name: name, Value: value, Type: "SecureString", Overwrite: true }));
  } catch (error) {
    throw new Error(error instanceof Error ? error.name : "error", { cause: error });
  }
}
