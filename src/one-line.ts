/** Texts from registries and clusters must not steer a terminal, nor look like two lines of it. */
export function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex -- those are exactly what is taken out
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ").trim();
}
