"""Study files: schema, rules, and loading."""
