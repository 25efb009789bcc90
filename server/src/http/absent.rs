//! What may be missing in an answer is missing, and never null: so the document says, and generated clients get one way to say
//! "not there" where they would get two (`Option<Option<T>>`, `T | null | undefined`).
//!
//! utoipa lets every `Option` be null. In a request it may be; in an answer serde skips it (a test looks at each).

use std::collections::BTreeSet;

use utoipa::openapi::{
    OpenApi, RefOr, Schema,
    schema::{AdditionalProperties, ArrayItems, Object, SchemaType, Type},
};

/// These have all their fields, with null where there is nothing: the record is answered byte for byte as it was stored, and
/// whoever checks an audit log counts on its fields.
const WHOLE: &[&str] = &["SessionRecord", "AuditEntry"];

/// Takes null from the optional properties of every schema that no request uses.
pub(super) fn never_null(document: &mut OpenApi) {
    let asked = in_requests(document);
    let Some(components) = document.components.as_mut() else { return };
    for (name, schema) in &mut components.schemas {
        if let RefOr::T(Schema::Object(object)) = schema
            && !WHOLE.contains(&name.as_str())
            && !asked.contains(name)
        {
            let required: BTreeSet<String> = object.required.iter().cloned().collect();
            object.properties.iter_mut().filter(|(name, _)| !required.contains(*name)).for_each(|(_, property)| without_null(property));
        }
    }
}

fn without_null(property: &mut RefOr<Schema>) {
    match property {
        RefOr::T(Schema::Object(Object { schema_type, .. })) => {
            if let SchemaType::Array(types) = schema_type {
                types.retain(|one| *one != Type::Null);
                if let [only] = types.as_slice() {
                    *schema_type = SchemaType::Type(only.clone());
                }
            }
        }
        RefOr::T(Schema::OneOf(one_of)) => {
            one_of.items.retain(|item| !is_null(item));
            if let [only] = one_of.items.as_slice() {
                *property = only.clone();
            }
        }
        _ => {}
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null))
}

/// The names of the schemas that request bodies use, directly or within others.
fn in_requests(document: &OpenApi) -> BTreeSet<String> {
    let operations = document.paths.paths.values().flat_map(|path| [&path.get, &path.post, &path.put, &path.patch, &path.delete]);
    let bodies = operations.flatten().filter_map(|operation| match &operation.request_body {
        Some(RefOr::T(body)) => Some(body),
        _ => None,
    });
    let contents = bodies.flat_map(|body| body.content.values()).filter_map(|content| match content {
        RefOr::T(content) => content.schema.as_ref(),
        RefOr::Ref(_) => None,
    });
    let mut open: Vec<String> = contents.flat_map(names).collect();
    let mut found = BTreeSet::new();
    while let Some(name) = open.pop() {
        if let Some(schema) = document.components.as_ref().and_then(|all| all.schemas.get(&name))
            && found.insert(name)
        {
            open.extend(names(schema));
        }
    }
    found
}

/// The names of the schemas that this one refers to.
fn names(schema: &RefOr<Schema>) -> Vec<String> {
    match schema {
        RefOr::Ref(reference) => reference.ref_location.rsplit('/').next().map(str::to_owned).into_iter().collect(),
        RefOr::T(Schema::Object(object)) => {
            let more = match object.additional_properties.as_deref() {
                Some(AdditionalProperties::RefOr(schema)) => names(schema),
                _ => Vec::new(),
            };
            object.properties.values().flat_map(names).chain(more).collect()
        }
        RefOr::T(Schema::Array(array)) => match &array.items {
            ArrayItems::RefOrSchema(items) => names(items),
            ArrayItems::False => Vec::new(),
        },
        RefOr::T(Schema::OneOf(one_of)) => one_of.items.iter().flat_map(names).collect(),
        RefOr::T(Schema::AllOf(all_of)) => all_of.items.iter().flat_map(names).collect(),
        RefOr::T(Schema::AnyOf(any_of)) => any_of.items.iter().flat_map(names).collect(),
        RefOr::T(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn what_an_answer_may_lack_is_never_null_and_what_a_request_may_lack_may_be() {
        let document = serde_json::to_value(super::super::openapi::document()).unwrap();
        let property = |schema: &str, name: &str| document["components"]["schemas"][schema]["properties"][name].clone();
        assert_eq!(property("Operation", "ready_at"), json!({ "type": "string", "format": "date-time" }));
        let error = property("Operation", "error");
        assert_eq!((&error["$ref"], error.get("oneOf")), (&json!("#/components/schemas/Failure"), None));
        assert_eq!(property("UpSession", "repo_token")["type"], json!(["string", "null"]));
        // Part of a request, by way of `CreateTenant`.
        assert_eq!(property("CreateTenantQuotas", "max_operations")["type"], json!(["integer", "null"]));
        assert!(property("SessionRecord", "last_error")["oneOf"].is_array());
    }

    /// `last_error` is in the record, `$name` is a tenant's limit and always there, the others are the audit log's.
    const NULL: &[&str] =
        &["last_error: ", "$name: Option<i32>", "target: Option<String>", "owner: Option<String>", "reason: Option<String>"];

    #[test]
    fn every_option_of_an_answer_is_skipped_where_it_is_none() {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi/src");
        let mut wrong = Vec::new();
        for file in std::fs::read_dir(source).unwrap() {
            let path = file.unwrap().path();
            // A host's name, and no part of an answer.
            if path.ends_with("app.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // From one public field to the next: the attributes of a field stand before it.
            for pair in text.split("    pub ").collect::<Vec<_>>().windows(2) {
                let field = pair[1].lines().next().unwrap_or_default();
                let may = NULL.iter().any(|name| field.starts_with(name));
                if field.contains(": Option<") && !pair[0].contains("skip_serializing_if") && !may {
                    wrong.push(format!("{}: {field}", path.display()));
                }
            }
        }
        assert_eq!(wrong, Vec::<String>::new(), "null would be sent where the document says that nothing is");
    }
}
