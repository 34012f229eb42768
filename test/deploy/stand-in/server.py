"""A stand-in for AWS on loopback: moto's server with what it lacks for this stack. Decision 0019 says what it proves and what not.

Usage: server.py PORT SKIPPED-FILE
  1. ValidateTemplate finds nothing: cfn-lint has a test of its own.
  2. CloudFormation creates alarms, function URLs and queue policies, and a dashboard that it also changes.
  3. A resource type that nothing creates is written to SKIPPED-FILE, where moto would drop it in silence.
  4. A resource that a new template leaves out stays where it said `DeletionPolicy: Retain`.
  5. Moto's own way from a queue to a function is off: it would take each record as done. The test polls as Lambda does.
  6. A role's own policies are kept as documents, and change with the template.
  7. Whoever comes with a role's temporary credentials may do what the role's policies allow for that very resource, and nothing else.
     Requests with other credentials may do everything.
"""

import fnmatch
import json
import sys

import moto.cloudformation.models as cloudformation
import moto.cloudformation.parsing as parsing
from moto.cloudwatch.models import MetricDataQuery, MetricStat, Metric, Dimension, cloudwatch_backends
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.common_models import CloudFormationModel
from moto.core.config import default_user_config
from moto.core.exceptions import JsonRESTError
from moto.iam.models import Role, iam_backends
from moto.server import main
from moto.sqs.models import Queue, sqs_backends
from moto.sts.models import sts_backends

PORT, SKIPPED = sys.argv[1:]

cloudformation.validate_template_cfn_lint = lambda template: []


class Created(CloudFormationModel):
    """What CloudFormation knows of a resource: its id, and the attributes that a template may ask for."""

    __module__ = "moto.cloudformation.stand_in"  # moto reads the service's name here

    def __init__(self, physical_id, attributes):
        self.physical_id = physical_id
        self.attributes = attributes

    @property
    def physical_resource_id(self):
        return self.physical_id

    @staticmethod
    def cloudformation_name_type():
        return ""

    @classmethod
    def has_cfn_attr(cls, attr):
        return attr in cls.ATTRIBUTES

    def get_cfn_attribute(self, attr):
        return self.attributes[attr]

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        return cls.put(resource_name, cloudformation_json["Properties"], account_id, region_name)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name
    ):
        return cls.put(original_resource.physical_id, cloudformation_json["Properties"], account_id, region_name)

    @classmethod
    def delete_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name):
        cls.drop(resource_name, account_id, region_name)

    @classmethod
    def drop(cls, name, account_id, region_name):
        """Nothing of its own to remove."""


def query_of(query):
    stat = query.get("MetricStat")
    metric = stat and Metric(
        stat["Metric"]["MetricName"],
        stat["Metric"]["Namespace"],
        [Dimension(each["Name"], each["Value"]) for each in stat["Metric"].get("Dimensions", [])],
    )
    return MetricDataQuery(
        query_id=query["Id"],
        label=query.get("Label"),
        period=query.get("Period"),
        return_data=query.get("ReturnData", True),
        expression=query.get("Expression"),
        metric_stat=stat and MetricStat(metric, stat["Period"], stat["Stat"], stat.get("Unit")),
    )


class Alarm(Created):
    __module__ = "moto.cloudwatch.stand_in"
    ATTRIBUTES = ("Arn",)

    @staticmethod
    def cloudformation_type():
        return "AWS::CloudWatch::Alarm"

    @classmethod
    def put(cls, name, given, account_id, region_name):
        alarm = cloudwatch_backends[account_id][region_name].put_metric_alarm(
            name=given.get("AlarmName", name),
            namespace=given.get("Namespace"),
            metric_name=given.get("MetricName"),
            metric_data_queries=[query_of(each) for each in given["Metrics"]] if "Metrics" in given else None,
            comparison_operator=given["ComparisonOperator"],
            evaluation_periods=given["EvaluationPeriods"],
            datapoints_to_alarm=given.get("DatapointsToAlarm"),
            period=given.get("Period"),
            threshold=given.get("Threshold"),
            statistic=given.get("Statistic"),
            extended_statistic=given.get("ExtendedStatistic"),
            description=given.get("AlarmDescription"),
            dimensions=given.get("Dimensions", []),
            alarm_actions=given.get("AlarmActions", []),
            ok_actions=given.get("OKActions", []),
            treat_missing_data=given.get("TreatMissingData"),
            unit=given.get("Unit"),
        )
        return cls(alarm.name, {"Arn": alarm.alarm_arn})

    @classmethod
    def drop(cls, name, account_id, region_name):
        cloudwatch_backends[account_id][region_name].delete_alarms([name])


class Dashboard(Created):
    __module__ = "moto.cloudwatch.stand_in"
    ATTRIBUTES = ()

    @staticmethod
    def cloudformation_type():
        return "AWS::CloudWatch::Dashboard"

    @classmethod
    def put(cls, name, given, account_id, region_name):
        own = given.get("DashboardName", name)
        cloudwatch_backends[account_id][region_name].put_dashboard(own, given["DashboardBody"])
        return cls(own, {})

    @classmethod
    def drop(cls, name, account_id, region_name):
        cloudwatch_backends[account_id][region_name].delete_dashboards([name])


def functions(account_id, region_name):
    from moto.awslambda.utils import get_backend  # late: it wants every service's models

    return get_backend(account_id, region_name)


class FunctionUrl(Created):
    __module__ = "moto.awslambda.stand_in"
    ATTRIBUTES = ("FunctionUrl", "FunctionArn")

    @staticmethod
    def cloudformation_type():
        return "AWS::Lambda::Url"

    @classmethod
    def put(cls, name, given, account_id, region_name):
        target = given["TargetFunctionArn"]
        settings = {
            "AuthType": given["AuthType"],
            "Cors": given.get("Cors"),
            "InvokeMode": given.get("InvokeMode", "BUFFERED"),
        }
        made = functions(account_id, region_name).create_function_url_config(target, settings)
        return cls(target, {"FunctionUrl": made.url, "FunctionArn": target})

    @classmethod
    def drop(cls, name, account_id, region_name):
        try:
            functions(account_id, region_name).delete_function_url_config(name)
        except Exception:  # moto removes in any order, and with its function the URL is gone
            pass


class QueuePolicy(Created):
    __module__ = "moto.sqs.stand_in"
    ATTRIBUTES = ("Id",)

    @staticmethod
    def cloudformation_type():
        return "AWS::SQS::QueuePolicy"

    @classmethod
    def put(cls, name, given, account_id, region_name):
        for url in given["Queues"]:
            policy = {"Policy": json.dumps(given["PolicyDocument"])}
            sqs_backends[account_id][region_name].set_queue_attributes(url.rsplit("/", 1)[1], policy)
        return cls(name, {"Id": name})


OWN = {each.cloudformation_type(): each for each in (Alarm, Dashboard, FunctionUrl, QueuePolicy)}
known = parsing.resource_class_from_type


def resource_class_from_type(resource_type):
    found = OWN.get(resource_type) or known(resource_type)
    if found is None:
        with open(SKIPPED, "a") as file:
            file.write(resource_type + "\n")
    return found


parsing.resource_class_from_type = resource_class_from_type

remove = parsing.ResourceMap._delete_resource


def unless_retained(self, parsed_resource, resource_json):
    if resource_json.get("DeletionPolicy") != "Retain":
        remove(self, parsed_resource, resource_json)


parsing.ResourceMap._delete_resource = unless_retained

Queue.lambda_event_source_mappings = property(lambda self: {}, lambda self, value: None)
default_user_config["lambda"]["use_docker"] = False

create_role = Role.create_from_cloudformation_json
update_role = Role.update_from_cloudformation_json


def with_documents(role, cloudformation_json):
    given = cloudformation_json["Properties"].get("Policies", [])
    role.policies = {each["PolicyName"]: json.dumps(each["PolicyDocument"]) for each in given}
    return role


def created_role(resource_name, cloudformation_json, account_id, region_name, **rest):
    return with_documents(create_role(resource_name, cloudformation_json, account_id, region_name, **rest), cloudformation_json)


def updated_role(original_resource, new_resource_name, cloudformation_json, account_id, region_name):
    role = update_role(original_resource, new_resource_name, cloudformation_json, account_id, region_name)
    return with_documents(role, cloudformation_json)


Role.create_from_cloudformation_json = created_role
Role.update_from_cloudformation_json = updated_role


class AccessDenied(JsonRESTError):
    code = 400


def statements(account_id, role):
    backend = iam_backends[account_id]["aws"]
    for name in backend.list_role_policies(role):
        document = json.loads(backend.get_role_policy(role, name)[1])
        yield from document["Statement"]


def listed(one_or_more):
    return one_or_more if isinstance(one_or_more, list) else [one_or_more]


def arn_of(service, region, account_id, given):
    """The resource that a request of the JSON protocol is about."""
    name = {
        "sqs": lambda: given.get("QueueName") or given.get("QueueUrl", "").rsplit("/", 1)[-1],
        "dynamodb": lambda: "table/" + given.get("TableName", "").rsplit("/", 1)[-1],
        "ssm": lambda: "parameter/" + given.get("Name", "").lstrip("/"),
    }[service]()
    index = f"/index/{given['IndexName']}" if "IndexName" in given else ""
    return f"arn:aws:{service}:{region}:{account_id}:{name}{index}"


def by_role(self, resource="*"):
    scope = self.headers.get("Authorization", "").partition("Credential=")[2].partition(",")[0].split("/")
    roles = sts_backends[self.current_account]["aws"].assumed_roles
    role = next((each.role_arn.split("/")[-1] for each in roles if each.access_key_id == scope[0]), None)
    if role is None:
        return
    region, service = scope[2:4]
    given = json.loads(self.raw_body or b"{}")
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html: batches have the right of the single action
    action = f"{service}:{self._get_action().removesuffix('Batch')}"
    arn = arn_of(service, region, self.current_account, given)
    is_allowed = any(
        each["Effect"] == "Allow"
        and any(fnmatch.fnmatchcase(action, one) for one in listed(each["Action"]))
        and any(fnmatch.fnmatchcase(arn, one) for one in listed(each["Resource"]))
        for each in statements(self.current_account, role)
    )
    if not is_allowed:
        raise AccessDenied("AccessDeniedException", f"{role} is not authorized to perform {action} on {arn}")


ActionAuthenticatorMixin._authenticate_and_authorize_normal_action = by_role

main(["--host", "127.0.0.1", "--port", PORT])
