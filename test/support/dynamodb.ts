/** A DynamoDB of one's own, by another hand: https://github.com/architect/dynalite Its tables are those of the template. */
import { once } from "node:events";
import { CreateTableCommand, DynamoDBClient, UpdateItemCommand } from "@aws-sdk/client-dynamodb";
import dynalite from "dynalite";
import * as z from "zod";
import { journal } from "../../infra/template/journal.ts";
import { JOURNAL } from "../../infra/template/names.ts";

const schema = z.object({
  AttributeDefinitions: z.array(z.object({ AttributeName: z.string(), AttributeType: z.enum(["S", "N"]) })),
  KeySchema: z.array(z.object({ AttributeName: z.string(), KeyType: z.enum(["HASH", "RANGE"]) })),
  BillingMode: z.literal("PAY_PER_REQUEST"),
});
const indexed = schema.extend({
  GlobalSecondaryIndexes: z.array(
    schema.pick({ KeySchema: true }).extend({ IndexName: z.string(), Projection: z.object({ ProjectionType: z.literal("ALL") }) }),
  ),
});

/** What the SDK's usual chain needs to find it. */
export interface TestDynamo {
  readonly env: Readonly<Record<string, string>>;
  createTable(name: string): Promise<void>;
  /** Overwrites the detail of an item. */
  put(table: string, item: { key: string; sort: string; detail: string }): Promise<void>;
  close(): Promise<void>;
}

export async function startDynamo(): Promise<TestDynamo> {
  const server = dynalite({ createTableMs: 0, deleteTableMs: 0 });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const endpoint = `http://127.0.0.1:${address.port}`;
  const env = {
    AWS_ENDPOINT_URL_DYNAMODB: endpoint,
    AWS_REGION: "eu-central-1",
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: "test",
  };
  const client = new DynamoDBClient({ endpoint, region: env.AWS_REGION, credentials: { accessKeyId: "test", secretAccessKey: "test" } });
  return {
    env,
    async createTable(TableName) {
      await client.send(new CreateTableCommand({ TableName, ...indexed.parse(journal[JOURNAL]?.Properties) }));
    },
    async put(TableName, { key, sort, detail }) {
      await client.send(
        new UpdateItemCommand({
          TableName,
          Key: { key: { S: key }, sort: { S: sort } },
          UpdateExpression: "SET detail = :detail",
          ExpressionAttributeValues: { ":detail": { S: detail } },
        }),
      );
    },
    async close() {
      client.destroy();
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}
