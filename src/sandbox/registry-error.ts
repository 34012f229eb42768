/** A refusal in the registry API's own words: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes */
export class RegistryError extends Error {
  readonly status: number;
  readonly code: string;
  readonly detail: Readonly<Record<string, string>> | null;

  constructor(status: number, code: string, message: string, detail: Readonly<Record<string, string>> | null = null) {
    super(message);
    this.name = "RegistryError";
    this.status = status;
    this.code = code;
    this.detail = detail;
  }

  /** The body of the answer. */
  toJSON(): unknown {
    return { errors: [{ code: this.code, message: this.message, detail: this.detail }] };
  }
}
