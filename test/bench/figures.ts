/** What is measured, beside what it is compared with, and how both are shown. */

export interface Figure {
  readonly part: string;
  readonly name: string;
  readonly value: number;
  readonly unit: "ms" | "s" | "/s" | "MB" | "KiB" | "";
  /** The same quantity of something simpler, from the same run. */
  readonly baseline?: { readonly of: string; readonly value: number };
  readonly targets?: readonly Target[];
}
/** A bound of the value itself, or of its ratio to the baseline. */
export interface Target {
  readonly of: "value" | "ratio";
  readonly min?: number;
  readonly max?: number;
}

/** The value below which the given share of the samples lies. NaN without samples. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export const median = (samples: readonly number[]): number => percentile(samples, 0.5);

const ratioOf = ({ value, baseline }: Figure): number | null => (baseline === undefined ? null : value / baseline.value);

function isMet(figure: Figure, { of, min = -Infinity, max = Infinity }: Target): boolean {
  const measured = of === "value" ? figure.value : (ratioOf(figure) ?? Number.NaN);
  return measured >= min && measured <= max;
}

/** With ratio and verdict worked out. */
export function toJson(figures: readonly Figure[]): object[] {
  return figures.map((figure) => ({
    ...figure,
    ratio: ratioOf(figure),
    targets: figure.targets?.map((target) => ({ ...target, met: isMet(figure, target) })) ?? [],
  }));
}

export function toTable(figures: readonly Figure[]): string {
  const head = ["part", "figure", "measured", "baseline", "ratio", "target"];
  const rows = figures.map((figure) => {
    const ratio = ratioOf(figure);
    return [
      figure.part,
      figure.name,
      amount(figure.value, figure.unit),
      figure.baseline ? `${amount(figure.baseline.value, figure.unit)}  ${figure.baseline.of}` : "",
      ratio === null ? "" : `× ${digits(ratio)}`,
      figure.targets?.map((target) => `${boundOf(target, figure.unit)} ${isMet(figure, target) ? "met" : "MISSED"}`).join(", ") ?? "",
    ];
  });
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  return [line(head), line(widths.map((width) => "─".repeat(width))), ...rows.map(line)].join("\n");
}

function boundOf({ of, min, max }: Target, unit: Figure["unit"]): string {
  const bound = min === undefined ? `≤ ${of === "ratio" ? "× " : ""}${max}` : `≥ ${of === "ratio" ? "× " : ""}${min}`;
  return of === "ratio" ? bound : `${bound} ${unit}`.trim();
}

const amount = (value: number, unit: string) => `${digits(value)} ${unit}`.trim();

function digits(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: value < 100 ? 2 : 0 });
}
