/** The stack, for serverless.yml: osls takes no TypeScript. */
const load = require("./typescript.cjs");

const { generate } = load("template/index.ts");
let configuration = null;
module.exports = async ({ resolveVariable, resolveConfigurationProperty }) => {
  const { relay, ...stack } = await generate({
    service: await resolveConfigurationProperty(["service"]),
    stage: await resolveVariable("sls:stage"),
    http: await resolveVariable("param:http"),
    kmsKeyArn: await resolveVariable("param:kmsKeyArn"),
    alarmTopic: await resolveVariable("param:alarmTopic"),
  });
  configuration = relay;
  return stack;
};
/** What goes into each function's zip, as plain data; there once the stack was asked for. */
module.exports.configuration = () => configuration;
