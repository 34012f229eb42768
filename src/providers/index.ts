/** The table of registries. A row here, a folder in test/fixtures/, a page in infra/registries/: that is a provider. */
import { distribution } from "./distribution.ts";
import { generic } from "./generic.ts";
import { harbor } from "./harbor.ts";
import type { RegistryProvider } from "./provider.ts";

const table = { distribution, generic, harbor };
Object.setPrototypeOf(table, null); // so that `provider: constructor` is no more known than other words

export const providers: Readonly<Record<string, RegistryProvider>> = table;
export const providerNames: readonly string[] = Object.keys(table);
