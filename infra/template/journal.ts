/**
 * What became of each push, for `mpo-relay history` and GET /pushes/<key>: src/journal/dynamodb.ts says what is in it. Consumers count
 * their runs in it (src/crashes.ts), so it is made also where the journal is off; and switching that on and off leaves no table behind.
 */
import { JOURNAL, type Resources } from "./names.ts";

const text = (AttributeName: string) => ({ AttributeName, AttributeType: "S" });
const key = (hash: string, range: string) => [
  { AttributeName: hash, KeyType: "HASH" },
  { AttributeName: range, KeyType: "RANGE" },
];

export const journal: Resources = {
  [JOURNAL]: {
    Type: "AWS::DynamoDB::Table",
    DeletionPolicy: "Retain",
    UpdateReplacePolicy: "Retain",
    Properties: {
      BillingMode: "PAY_PER_REQUEST",
      AttributeDefinitions: ["key", "sort", "day", "last"].map(text),
      KeySchema: key("key", "sort"),
      // A story is read from the index alone.
      GlobalSecondaryIndexes: [{ IndexName: "by-time", KeySchema: key("day", "last"), Projection: { ProjectionType: "ALL" } }],
      TimeToLiveSpecification: { AttributeName: "expires", Enabled: true },
      SSESpecification: { SSEEnabled: true }, // by the account's key aws/dynamodb of KMS; no role needs a right to it
      DeletionProtectionEnabled: true,
    },
  },
};
