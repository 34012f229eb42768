/** `mpo-relay source`: what a module source holds, and who lives from it. Read only. */
import { Command } from "commander";
import { suggestion } from "../../config/problem.ts";
import { RelayError } from "../../outcome.ts";
import { RegistryReader } from "../../registry/reader.ts";
import { configOption, sameConfig } from "../configuration.ts";
import { Failure, oneLine, type Terminal } from "../terminal.ts";
import { adviceOn } from "./advice.ts";
import { channelsOf, lookInto, modulesOf, type Progress, tagsOf } from "./held.ts";
import { imageNamed, type NamedImage, type NamedSource, sourceNamed, type SourceOptions } from "./named.ts";
import { imageText, moduleText, sourceText } from "./text.ts";
import { type Users, usersOf } from "./users.ts";

export function sourceCommand(terminal: Terminal): Command {
  return new Command("source")
    .summary("what a module source holds, and who lives from it")
    .description(
      "Shows what lies in the registry below a module source, as you would look at it with crane: its modules; of one module its tags,\n" +
        "releases and the version in each channel; of one image its files, module.yaml and the digests of its components.\n" +
        "And which webhooks tell of it, and which overrides follow it, in the configured clusters that can be reached.\n" +
        "Only reads. Of a source in the configuration it gets in as `registry:` there says; any other repository is asked anonymously.",
    )
    .argument("<source>", "a source's name, repo or alias; or any repository: registry.example.com/deckhouse/modules")
    .argument("[image]", "a module (echo), or an image below the source: echo:main, echo@sha256:…, echo/release:stable")
    .addOption(configOption())
    .option("--docker-config <file>", "get in by this docker config.json, as `docker login` writes it")
    .option("--json", "print one JSON object on stdout; with every tag")
    .addHelpText(
      "after",
      "\nExit codes: 0 shown; 1 it is not there, or the registry does not let us look; 2 wrong call or configuration.\n\n" +
        "Example:\n  mpo-relay source my-modules\n  mpo-relay source my-modules echo\n  mpo-relay source my-modules echo:main --json\n" +
        "  mpo-relay source registry.example.com/deckhouse/modules echo --docker-config ~/.docker/config.json",
    )
    .action(async (name: string, image: string | undefined, options: SourceOptions) => {
      const named = image === undefined ? null : imageNamed(image);
      const source = await sourceNamed(name, options, terminal);
      const look: Look = { source, reader: new RegistryReader(), options, terminal, again: `mpo-relay source ${name}` };
      try {
        if (named === null) await wholeSource(look);
        else if (named.reference === null) await oneModule(look, named.module);
        else await oneImage(look, named, named.reference);
      } catch (error) {
        throw error instanceof RelayError ? inWords(error, source) : error;
      }
    });
}

interface Look {
  readonly source: NamedSource;
  readonly reader: RegistryReader;
  readonly options: SourceOptions;
  readonly terminal: Terminal;
  /** This call as far as the source. */
  readonly again: string;
}

async function wholeSource({ source, reader, options, terminal, again }: Look): Promise<void> {
  const held = await modulesOf(reader, await source.at(""), progressOn(terminal));
  if (held === null)
    throw new Failure(
      1,
      `there is no repository ${source.repo}`,
      "builds push a tag there for each of their modules: was nothing built yet, or is the path another?",
      `a module is found without it, too: ${again} MODULE${sameConfig(options.config)}`,
    );
  const { modules, all } = held;
  const users = await usersOf(source, modules);
  tellUnseen(users, terminal);
  if (options.json) return terminal.out(JSON.stringify({ ...headOf(source), modules, tags: all, ...users }));
  terminal.out(sourceText(titleOf(source), held, users));
  const [first] = modules;
  if (first !== undefined) terminal.err(`next: ${again} ${first}${sameConfig(options.config)}`);
}

async function oneModule({ source, reader, options, terminal, again }: Look, module: string): Promise<void> {
  const progress = progressOn(terminal);
  const tags = await tagsOf(reader, await source.at(module), progress);
  if (tags === null) throw await noModule(source, reader, module);
  const place = await source.at(`${module}/release`);
  const releases = await tagsOf(reader, place, progress);
  const channels = await channelsOf(reader, place, releases?.all ?? []);
  const users = await usersOf(source, [module]);
  tellUnseen(users, terminal);
  if (options.json) {
    const held = { module, tags: tags.all, releases: releases?.all ?? [], channels };
    return terminal.out(JSON.stringify({ ...headOf(source), ...held, ...users }));
  }
  terminal.out(moduleText(titleOf(source, module), tags, releases, channels, users));
  const tag = users.overrides[0]?.tag ?? tags.plain[0];
  if (tag !== undefined) terminal.err(`next: ${again} ${module}:${tag}${sameConfig(options.config)}`);
}

async function oneImage({ source, reader, options, terminal, again }: Look, named: NamedImage, reference: string): Promise<void> {
  const { module, path } = named;
  const image = `${path}${reference.startsWith("sha256:") ? "@" : ":"}${reference}`;
  const look = await lookInto(reader, await source.at(path), reference);
  if (look === null)
    throw new Failure(1, `${source.repo}/${image} is not there`, `what is: ${again} ${module}${sameConfig(options.config)}`);
  const users = await usersOf(source, [module]);
  const followers = { ...users, overrides: path === module ? users.overrides.filter(({ tag }) => tag === reference) : [] };
  tellUnseen(users, terminal);
  if (options.json) return terminal.out(JSON.stringify({ ...headOf(source), image: `${source.repo}/${image}`, ...look, ...followers }));
  terminal.out(imageText(titleOf(source, image), look, followers));
}

const headOf = ({ repo, source }: NamedSource) => ({ repo, name: source?.name ?? null });

function titleOf({ repo, source }: NamedSource, below?: string): string {
  const name = source?.name ?? null;
  return `${repo}${below === undefined ? "" : `/${below}`}${name === null ? "" : ` (source ${name})`}`;
}

const progressOn =
  (terminal: Terminal): Progress =>
  (tags) =>
    terminal.err(`${tags} tags so far`);

function tellUnseen({ unseen }: Users, terminal: Terminal): void {
  for (const { cluster, why } of unseen) terminal.err(`warning: overrides of the cluster ${cluster} are not shown: ${oneLine(why)}`);
}

async function noModule(source: NamedSource, reader: RegistryReader, module: string): Promise<Failure> {
  const held = await modulesOf(reader, await source.at(""), () => undefined).catch(() => null);
  const hint = held && held.modules.length > 0 ? suggestion(module, held.modules.slice(0, 50)) : "is the source's path right?";
  return new Failure(1, `there is no module ${module} in ${source.repo}`, hint);
}

/** What is wrong, and what to do about it. */
function inWords(error: RelayError, { isAnonymous }: NamedSource): Failure {
  if (error.code === "INTERNAL") return new Failure(2, error.message);
  const hint = adviceOn(error, isAnonymous);
  return new Failure(1, error.message, ...(hint === undefined ? [] : [hint]));
}
