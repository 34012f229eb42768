/** Checks a template against CloudFormation's own schema of resource types, offline: https://github.com/cdklabs/awscdk-service-spec */
import { loadAwsServiceSpec } from "@aws-cdk/aws-service-spec";
import * as z from "zod";

type Specification = Awaited<ReturnType<typeof loadAwsServiceSpec>>;
type ResourceType = NonNullable<ReturnType<typeof typeNamed>>;
type Property = ResourceType["properties"][string];
type PropertyType = Property["type"];

export type Template = z.output<typeof templateSchema>;
export const templateSchema = z.object({
  Resources: z.record(
    z.string(),
    z.object({
      Type: z.string(),
      Properties: z.record(z.string(), z.unknown()).default({}),
      DependsOn: z.union([z.string().transform((one) => [one]), z.array(z.string())]).default([]),
    }),
  ),
  Parameters: z.record(z.string(), z.unknown()).default({}),
  Outputs: z.record(z.string(), z.unknown()).default({}),
});

/** `resource.path: what is wrong` for each problem, and how many values were looked at. The schema is loaded once. */
export async function check(given: Template): Promise<{ problems: string[]; values: number }> {
  specification ??= loadAwsServiceSpec();
  return new Check(given, await specification).run();
}
let specification: Promise<Specification> | null = null;

function typeNamed(types: Specification, name: string) {
  return types.lookup("resource", "cloudFormationType", "equals", name)[0];
}

class Check {
  readonly #template: Template;
  readonly #types: Specification;
  readonly #problems: string[] = [];
  #values = 0;

  constructor(given: Template, types: Specification) {
    this.#template = given;
    this.#types = types;
  }

  run() {
    for (const [name, { Type, Properties, DependsOn }] of Object.entries(this.#template.Resources)) {
      const type = typeNamed(this.#types, Type);
      if (type) this.#object(name, Properties, type.properties);
      else this.#problems.push(`${name}: unknown type ${Type}`);
      for (const other of DependsOn) if (!this.#template.Resources[other]) this.#problems.push(`${name}.DependsOn: no resource ${other}`);
      this.#references(name, Properties);
    }
    this.#references("Outputs", this.#template.Outputs);
    return { problems: this.#problems, values: this.#values };
  }

  #object(path: string, given: unknown, properties: Readonly<Record<string, Property>>): void {
    if (!isObject(given)) return void this.#problems.push(`${path}: expected an object`);
    for (const [name, value] of Object.entries(given)) {
      const property = properties[name];
      if (property) this.#value(`${path}.${name}`, value, property.type);
      else this.#problems.push(`${path}: unknown property ${name}`);
    }
    for (const [name, { required }] of Object.entries(properties)) {
      if (required && !(name in given)) this.#problems.push(`${path}: ${name} is missing`);
    }
  }

  #value(path: string, value: unknown, type: PropertyType): void {
    this.#values += 1;
    if (isIntrinsic(value)) return; // its type is known only when deployed
    if (type.type === "ref") return this.#object(path, value, this.#types.get("typeDefinition", type.reference).properties);
    if (type.type === "array" && Array.isArray(value))
      return value.forEach((each, index) => this.#value(`${path}.${index}`, each, type.element));
    if (type.type === "map" && isObject(value))
      return Object.entries(value).forEach(([key, each]) => this.#value(`${path}.${key}`, each, type.element));
    if (type.type === "union") {
      if (!type.types.some((one) => this.#fits(value, one)))
        this.#problems.push(`${path}: fits none of ${type.types.map((one) => one.type).join(", ")}`);
    } else if (!isPrimitive(value, type)) {
      this.#problems.push(`${path}: expected ${type.type}`);
    }
  }

  #fits(value: unknown, type: PropertyType): boolean {
    const alone = new Check(this.#template, this.#types);
    alone.#value("", value, type);
    return alone.#problems.length === 0;
  }

  /** Every Ref, Fn::GetAtt and ${…} of an Fn::Sub names something that is there. */
  #references(path: string, value: unknown): void {
    if (Array.isArray(value)) return value.forEach((each, index) => this.#references(`${path}.${index}`, each));
    if (!isObject(value)) return;
    const { Ref: ref, "Fn::GetAtt": attribute, "Fn::Sub": text } = value;
    if (typeof ref === "string") this.#named(path, ref);
    if (Array.isArray(attribute)) this.#named(path, String(attribute[0]), String(attribute[1]));
    if (typeof text === "string") for (const [, name = ""] of text.matchAll(/\$\{([^!}][^}]*)\}/g)) this.#named(path, ...cut(name));
    for (const [key, each] of Object.entries(value)) this.#references(`${path}.${key}`, each);
  }

  #named(path: string, name: string, attribute?: string): void {
    const resource = this.#template.Resources[name];
    const isParameter = attribute === undefined && (name.startsWith("AWS::") || name in this.#template.Parameters);
    if (!resource && !isParameter) this.#problems.push(`${path}: no resource ${name}`);
    if (!resource || attribute === undefined) return;
    const known = typeNamed(this.#types, resource.Type)?.attributes ?? {};
    if (!(attribute in known)) this.#problems.push(`${path}: ${resource.Type} has no attribute ${attribute}`);
  }
}

function isPrimitive(value: unknown, type: PropertyType): boolean {
  switch (type.type) {
    case "json":
      return isObject(value);
    case "tag":
      return isObject(value) && typeof value["Key"] === "string";
    case "string":
      return typeof value === "string" && (type.allowedValues?.includes(value) ?? true);
    case "integer":
      return Number.isInteger(value) && (type.allowedValues?.includes(Number(value)) ?? true);
    case "date-time":
      return typeof value === "string";
    case "number":
    case "boolean":
      return typeof value === type.type;
    case "null":
      return value === null;
    case "array":
    case "map":
    case "ref":
    case "union":
      return false;
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isIntrinsic = (value: unknown) =>
  isObject(value) && Object.keys(value).length === 1 && /^(?:Ref|Fn::\w+)$/.test(Object.keys(value)[0] ?? "");
const cut = (name: string): [string, string?] => {
  const dot = name.indexOf(".");
  return dot < 0 ? [name] : [name.slice(0, dot), name.slice(dot + 1)];
};
