import { lines, type RegistrySetup, SECRET } from "./setup.ts";

const HOURS_8 = 8 * 3600 * 1000;

export const alibaba: RegistrySetup = {
  checked:
    "from Alibaba's documentation, not tried on a running registry; by that documentation it holds no module source (names of two levels)",
  hosts: /\.aliyuncs\.com$/,
  paste: ({ url }) => [
    {
      kind: "steps",
      where: "Container Registry console → the instance → Repositories → the repository → Trigger → Create, for each repository",
      text: lines(`Trigger URL  ${url}/${SECRET}`, "Trigger by   all (no filter on tags)"),
    },
  ],
  sample: ({ host, repository, tag, digest, time }) => {
    const [namespace, ...name] = repository.split("/");
    const [, region = "eu-central-1"] = /[.-]([a-z]{2}-[a-z]+(?:-\d+)?)\./.exec(host) ?? [];
    const inChina = new Date(time.getTime() + HOURS_8).toISOString();
    return {
      body: {
        push_data: { digest, pushed_at: `${inChina.slice(0, 10)} ${inChina.slice(11, 19)}`, tag },
        repository: { name: name.join("/"), namespace, region, repo_full_name: repository, repo_type: "PRIVATE" },
      },
    };
  },
};
