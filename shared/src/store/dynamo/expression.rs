//! Conditions and actions as the expressions of DynamoDB.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::store::write::{self, Action, Comparison, Condition, Operand, Path, Step, Value};

/// An expression with its placeholders. Every name gets one, because many attribute names are reserved words.
#[derive(Debug, Default)]
pub(super) struct Expression {
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    fn name(&mut self, name: &str) -> String {
        match self.names.iter().find(|(_, known)| *known == name) {
            Some((placeholder, _)) => placeholder.clone(),
            None => {
                let placeholder = format!("#n{}", self.names.len());
                self.names.insert(placeholder.clone(), name.to_owned());
                placeholder
            }
        }
    }

    fn value(&mut self, value: &Value) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value.clone().into());
        placeholder
    }

    fn path(&mut self, path: &Path) -> String {
        let mut text = String::new();
        for step in path.steps() {
            match step {
                Step::Name(name) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(&self.name(name));
                }
                Step::At(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }

    fn operand(&mut self, operand: &Operand) -> String {
        match operand {
            Operand::At(path) => self.path(path),
            Operand::Size(path) => format!("size({})", self.path(path)),
            Operand::Value(value) => self.value(value),
        }
    }

    /// Renders a condition; `None` for one that always holds.
    pub(super) fn condition(&mut self, condition: &Condition) -> Option<String> {
        let text = self.clause(condition)?;
        // DynamoDB refuses redundant parentheses around the whole text. Text that starts with one comes from `joined`,
        // so it ends with the matching one.
        let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).map(str::to_owned);
        Some(inner.unwrap_or(text))
    }

    fn clause(&mut self, condition: &Condition) -> Option<String> {
        Some(match condition {
            Condition::Exists(path) => format!("attribute_exists({})", self.path(path)),
            Condition::Absent(path) => format!("attribute_not_exists({})", self.path(path)),
            Condition::Is(left, comparison, right) => {
                let sign = match comparison {
                    Comparison::Eq => "=",
                    Comparison::Ne => "<>",
                    Comparison::Lt => "<",
                    Comparison::Le => "<=",
                    Comparison::Gt => ">",
                    Comparison::Ge => ">=",
                };
                let (left_text, right_text) = (self.operand(left), self.operand(right));
                // In DynamoDB `<>` is true if an attribute is absent. A condition of the store must then be false.
                let mut parts = vec![format!("{left_text} {sign} {right_text}")];
                if *comparison == Comparison::Ne {
                    for operand in [left, right] {
                        if let Operand::At(path) = operand {
                            parts.push(format!("attribute_exists({})", self.path(path)));
                        }
                    }
                }
                joined(parts, " AND ")
            }
            Condition::All(conditions) => {
                let parts: Vec<_> = conditions.iter().filter_map(|condition| self.clause(condition)).collect();
                if parts.is_empty() {
                    return None;
                }
                joined(parts, " AND ")
            }
            Condition::Any(conditions) => {
                let parts: Option<Vec<_>> = conditions.iter().map(|condition| self.clause(condition)).collect();
                joined(parts?, " OR ")
            }
        })
    }

    pub(super) fn actions(&mut self, actions: &[Action]) -> Option<String> {
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::Set(path, value) => set.push(format!("{} = {}", self.path(path), self.value(value))),
                Action::SetIfAbsent(path, value) => {
                    let path = self.path(path);
                    set.push(format!("{path} = if_not_exists({path}, {})", self.value(value)));
                }
                Action::Add(path, by) => {
                    let path = self.path(path);
                    set.push(format!("{path} = {path} + {}", self.value(&write::num(*by))));
                }
                Action::Count(path, by) => {
                    let (path, zero) = (self.path(path), self.value(&write::num(0)));
                    let by = self.value(&write::num(*by));
                    set.push(format!("{path} = if_not_exists({path}, {zero}) + {by}"));
                }
                Action::Append(path, value) => {
                    let path = self.path(path);
                    let one = self.value(&Value::L(vec![value.clone()]));
                    set.push(format!("{path} = list_append({path}, {one})"));
                }
                Action::Remove(path) => remove.push(self.path(path)),
            }
        }
        let clause =
            |word: &str, parts: Vec<String>| (!parts.is_empty()).then(|| format!("{word} {}", parts.join(", ")));
        let clauses: Vec<_> = [clause("SET", set), clause("REMOVE", remove)].into_iter().flatten().collect();
        (!clauses.is_empty()).then(|| clauses.join(" "))
    }

    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    pub(super) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

/// Joins several parts in parentheses. A single part gets none, because DynamoDB refuses redundant parentheses.
fn joined(parts: Vec<String>, by: &str) -> String {
    if parts.len() == 1 { parts.concat() } else { format!("({})", parts.join(by)) }
}
