"""What is asked of the API and of the feed, in GraphQL (contract/upstream.md)."""

_FEATURE_FIELDS = """
    isGranted accessDeniedReason usageLimit hasUnlimitedUsage hasSoftLimit currentUsage enumValues
    entitlementUpdatedAt usageUpdatedAt usagePeriodAnchor usagePeriodStart usagePeriodEnd resetPeriod
    resetPeriodConfiguration {
      __typename
      ... on YearlyResetPeriodConfig { yearlyAccordingTo }
      ... on MonthlyResetPeriodConfig { monthlyAccordingTo }
      ... on WeeklyResetPeriodConfig { weeklyAccordingTo }
    }
    feature {
      featureType meterType featureUnits featureUnitsPlural description displayName refId
      unitTransformation { divide round }
    }
    creditRate { amount currencyId }
    validUntil
"""

_CREDIT_FIELDS = """
    isGranted accessDeniedReason
    currency { currencyId displayName description unitSingular unitPlural additionalMetaData }
    usageLimit currentUsage hasSoftLimit usageUpdatedAt entitlementUpdatedAt usagePeriodEnd validUntil
"""

ENTITLEMENT_UNION = f"""
    __typename
    ... on FeatureEntitlement {{ {_FEATURE_FIELDS} }}
    ... on CreditEntitlement {{ {_CREDIT_FIELDS} }}
"""

_REPORT_FIELDS = """
    id featureId customerId resourceId currentUsage usagePeriodStart usagePeriodEnd timestamp
    credit { currencyId currentUsage usagePeriodEnd timestamp }
"""

GET_ENTITLEMENTS_STATE = f"""
query GetEntitlementsState($query: FetchEntitlementsQuery!) {{
  entitlementsState(query: $query) {{
    accessDeniedReason
    entitlementsV2 {{ {ENTITLEMENT_UNION} }}
  }}
}}
"""

GET_SDK_CONFIGURATION = "query GetSdkConfiguration { sdkConfiguration { isWidgetWatermarkEnabled } }"

REPORT_USAGE = f"""
mutation ReportUsage($input: ReportUsageInput!) {{ reportUsage(input: $input) {{ {_REPORT_FIELDS} }} }}
"""

REPORT_USAGE_BULK = f"""
mutation ReportUsageBulk($input: ReportUsageBulkInput!) {{
  reportUsageBulk(input: $input) {{ {_REPORT_FIELDS} }}
}}
"""

REPORT_EVENT = "mutation ReportEvent($events: UsageEventsReportInput!) { reportEvent(events: $events) }"

SUBSCRIPTIONS = {
    "entitlementsUpdatedV2": f"""
subscription EntitlementsUpdatedV2 {{
  entitlementsUpdatedV2 {{
    customerId resourceId accessDeniedReason
    entitlements {{ {ENTITLEMENT_UNION} }}
  }}
}}
""",
    "usageUpdatedV2": """
subscription UsageUpdatedV2 {
  usageUpdatedV2 {
    customerId resourceId
    entitlementReference { id type }
    usage { currentUsage usageUpdatedAt usagePeriodStart usagePeriodEnd }
  }
}
""",
    "packagePublished": """
subscription PackagePublished {
  packagePublished { accountId environmentId packageType packageRefId packageVersion migrationType }
}
""",
}
"""By the name of their one field."""
