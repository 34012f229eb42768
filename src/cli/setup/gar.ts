import { type Hook, lines, type RegistrySetup } from "./setup.ts";

export const gar: RegistrySetup = {
  checked: "from Google's documentation, not tried on a running project",
  hosts: /-docker\.pkg\.dev$|^(?:[a-z]+\.)?gcr\.io$/,
  paste: (hook) => [{ kind: "sh", where: "a shell, with Google's `gcloud`; there is no secret", text: subscription(hook) }],
  sample: ({ host, repository, tag, digest, time, id }) => {
    const image = `${host}/${repository}`;
    const data = { action: "INSERT", ...(digest !== undefined && { digest: `${image}@${digest}` }), tag: `${image}:${tag}` };
    const encoded = Buffer.from(JSON.stringify(data)).toString("base64");
    return {
      body: {
        message: { data: encoded, messageId: id, publishTime: time.toISOString() },
        subscription: "projects/-/subscriptions/mpo-relay",
      },
    };
  },
};

/** https://cloud.google.com/artifact-registry/docs/configure-notifications, https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions */
function subscription({ url, oidc }: Hook): string {
  const account = oidc?.email ?? "";
  const [name, domain = ""] = account.split("@");
  return lines(
    `PROJECT=${quoted(domain.replace(/\.iam\.gserviceaccount\.com$/, ""))}`,
    `ACCOUNT=${quoted(account)}`,
    `AUDIENCE=${quoted(oidc?.audience ?? "")}`,
    `NUMBER=$(gcloud projects describe "$PROJECT" --format='value(projectNumber)')`,
    'gcloud pubsub topics create gcr --project "$PROJECT"     # the name is fixed; it may exist already',
    `gcloud iam service-accounts create ${quoted(name ?? "")} --project "$PROJECT"     # may exist already`,
    'gcloud iam service-accounts add-iam-policy-binding "$ACCOUNT" --project "$PROJECT" \\',
    '  --member "serviceAccount:service-$NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com" --role roles/iam.serviceAccountTokenCreator',
    'gcloud pubsub subscriptions create mpo-relay --project "$PROJECT" --topic gcr --expiration-period never \\',
    `  --push-endpoint ${url} --push-auth-service-account "$ACCOUNT" --push-auth-token-audience "$AUDIENCE" \\`,
    "  --min-retry-delay 10s --max-retry-delay 600s --message-retention-duration 7d",
  );
}

const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
