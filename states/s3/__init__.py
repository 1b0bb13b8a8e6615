"""S3: fraud and abuse campaigns over the genuine flows.

Plan 1 (`compile_plan`) fixes campaigns, windows, lanes of accounts, merchants and mule chains from the world alone; the
census counts what each campaign could start from; `plan2` splits quotas over shards; `overlay` weaves a shard; and
`catalogue` adds up what was realised. The law is contracts/laws/s3.md.
"""

from fraudloom.states.s3.catalogue import catalogue
from fraudloom.states.s3.plan import S3Plan, compile_plan
from fraudloom.states.s3.planned import busy_planned
from fraudloom.states.s3.prove import prove
from fraudloom.states.s3.quotas import Plan2, census_add, census_merge, census_new, plan2
from fraudloom.states.s3.weave import S3Frame, overlay

__all__ = [
    "Plan2",
    "S3Frame",
    "S3Plan",
    "busy_planned",
    "catalogue",
    "census_add",
    "census_merge",
    "census_new",
    "compile_plan",
    "overlay",
    "plan2",
    "prove",
]
