/** What is used of the Kubernetes client, and nothing else: loaded lazily, so that a bundle keeps only this of its 90,000 lines. */
export {
  createConfiguration,
  CustomObjectsApi,
  KubeConfig,
  PatchStrategy,
  ServerConfiguration,
  setHeaderOptions,
} from "@kubernetes/client-node";
