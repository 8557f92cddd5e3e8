//! Templates as `docker ps --format` and `docker inspect --format` take them: of Go's text/template what people use.
//!
//! `{{.A.B}}`, `{{json .}}`, `{{range $key, $value := .A}}…{{else}}…{{end}}`, `{{if and .A (not .B)}}`, `{{with .A}}`,
//! pipes, `{{-` and `-}}`, and the functions of [`functions`].

mod functions;
mod parse;

use crate::error::Error;
use serde_json::Value;

/// A template that was read and can be filled in.
#[derive(Debug, Clone)]
pub struct Template(Vec<Node>);

#[derive(Debug, Clone)]
enum Node {
    Text(String),
    Print(Expr),
    Set(String, Expr),
    If { branches: Vec<(Expr, Vec<Node>)>, otherwise: Vec<Node> },
    With { of: Expr, body: Vec<Node>, otherwise: Vec<Node> },
    Range { names: Vec<String>, over: Expr, body: Vec<Node>, otherwise: Vec<Node> },
}

#[derive(Debug, Clone)]
enum Expr {
    Literal(Value),
    /// `.A.B` of the present value.
    Here(Vec<String>),
    /// `$name.A.B`; the empty name is the value the template began with.
    Variable(String, Vec<String>),
    /// `(expression).A.B`
    Of(Box<Expr>, Vec<String>),
    Call(String, Vec<Expr>),
}

/// What an expression can see.
struct Scope<'a> {
    here: Value,
    variables: Vec<(String, Value)>,
    root: &'a Value,
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::parse(text).map(Self)
    }

    /// As [`Template::parse`], of `--format`: there `json` is the whole.
    pub fn parse_format(text: &str) -> Result<Self, Error> {
        Self::parse(if text == "json" { "{{json .}}" } else { text })
    }

    /// Fills it in.
    pub fn render(&self, value: &Value) -> Result<String, Error> {
        let mut scope = Scope { here: value.clone(), variables: Vec::new(), root: value };
        let mut out = String::new();
        scope.nodes(&self.0, &mut out)?;
        Ok(out)
    }
}

impl Scope<'_> {
    fn nodes(&mut self, nodes: &[Node], out: &mut String) -> Result<(), Error> {
        let depth = self.variables.len();
        for node in nodes {
            self.node(node, out)?;
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn node(&mut self, node: &Node, out: &mut String) -> Result<(), Error> {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(expr) => out.push_str(&shown(&self.value(expr)?)),
            Node::Set(name, expr) => {
                let value = self.value(expr)?;
                self.variables.push((name.clone(), value));
            }
            Node::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if is_true(&self.value(condition)?) {
                        return self.nodes(body, out);
                    }
                }
                self.nodes(otherwise, out)?;
            }
            Node::With { of, body, otherwise } => {
                let value = self.value(of)?;
                if is_true(&value) {
                    self.at(value, body, out)?;
                } else {
                    self.nodes(otherwise, out)?;
                }
            }
            Node::Range { names, over, body, otherwise } => {
                let items: Vec<(Value, Value)> = match self.value(over)? {
                    Value::Array(list) => {
                        list.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
                    }
                    Value::Object(map) => map.into_iter().map(|(key, item)| (key.into(), item)).collect(),
                    Value::Null => Vec::new(),
                    other => return Err(Error::usage(format!("template: range over {}", shown(&other)))),
                };
                if items.is_empty() {
                    return self.nodes(otherwise, out);
                }
                for (key, item) in items {
                    let depth = self.variables.len();
                    match names.as_slice() {
                        [value] => self.variables.push((value.clone(), item.clone())),
                        [name, value] => {
                            self.variables.push((name.clone(), key));
                            self.variables.push((value.clone(), item.clone()));
                        }
                        _ => {}
                    }
                    self.at(item, body, out)?;
                    self.variables.truncate(depth);
                }
            }
        }
        Ok(())
    }

    /// Runs `body` with another present value.
    fn at(&mut self, value: Value, body: &[Node], out: &mut String) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.here, value);
        let result = self.nodes(body, out);
        self.here = before;
        result
    }

    fn value(&self, expr: &Expr) -> Result<Value, Error> {
        match expr {
            Expr::Literal(value) => Ok(value.clone()),
            Expr::Here(path) => member(&self.here, path),
            Expr::Of(expr, path) => member(&self.value(expr)?, path),
            Expr::Variable(name, path) if name.is_empty() => member(self.root, path),
            Expr::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(other, _)| other == name);
                let (_, value) =
                    found.ok_or_else(|| Error::usage(format!("template: undefined variable ${name}")))?;
                member(value, path)
            }
            Expr::Call(name, arguments) => {
                let arguments =
                    arguments.iter().map(|expr| self.value(expr)).collect::<Result<Vec<_>, _>>()?;
                functions::call(name, &arguments)
            }
        }
    }
}

/// Members whose own members are people's words and not ours.
const OPEN: [&str; 4] = ["Labels", "Attributes", "Networks", "Ports"];

/// The value at a path of members; a member that is not there is an error with its name, since a typing mistake must
/// not look like an empty value. Below null everything is null, and so is a label that is not there.
fn member(value: &Value, path: &[String]) -> Result<Value, Error> {
    let mut value = value;
    let mut is_open = false;
    for name in path {
        value = match value {
            Value::Null => return Ok(Value::Null),
            Value::Object(map) => match map.get(name) {
                None if is_open => return Ok(Value::Null),
                found => found
                    .ok_or_else(|| Error::usage(format!("template: no member {:?}", crate::escape(name))))?,
            },
            _ => return Err(Error::usage(format!("template: no member {:?}", crate::escape(name)))),
        };
        is_open = OPEN.contains(&name.as_str());
    }
    Ok(value.clone())
}

/// Go's idea of truth: nothing empty is true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as text: strings bare, lists and maps as Go prints them.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", shown(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn renders_what_people_write() {
        let value = json!({
            "ID": "3f2a", "State": {"Running": true, "ExitCode": 0, "Health": null},
            "Names": ["a", "b"], "Ports": {"80/tcp": [{"HostPort": "8080"}], "53/udp": null}, "Empty": [],
        });
        for (template, expected) in [
            ("plain", "plain"),
            ("{{.ID}}", "3f2a"),
            ("{{ .State.Running }}/{{.State.ExitCode}}", "true/0"),
            ("{{json .State}}", r#"{"Running":true,"ExitCode":0,"Health":null}"#),
            ("{{.State | json}}", r#"{"Running":true,"ExitCode":0,"Health":null}"#),
            ("{{.Names}}", "[a b]"),
            ("{{join .Names \", \"}}", "a, b"),
            ("{{index .Names 1}}", "b"),
            ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
            ("{{range .Names}}<{{.}}>{{end}}", "<a><b>"),
            ("{{range $i, $n := .Names}}{{$i}}={{$n}} {{end}}", "0=a 1=b "),
            (
                "{{range $p, $c := .Ports}}{{$p}}{{if $c}}->{{(index $c 0).HostPort}}{{end}} {{end}}",
                "80/tcp->8080 53/udp ",
            ),
            ("{{range .Empty}}x{{else}}none{{end}}", "none"),
            ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
            ("{{if eq .State.ExitCode 1}}one{{else if eq .ID \"3f2a\"}}two{{end}}", "two"),
            ("{{if and .State.Running (not .Empty)}}yes{{end}}", "yes"),
            ("{{with .State.Health}}{{.Status}}{{else}}no health{{end}}", "no health"),
            ("{{$x := .ID}}{{upper $x}}{{len $x}}", "3F2A4"),
            ("a {{- .ID -}} b", "a3f2ab"),
            ("{{println .ID}}", "3f2a\n"),
            ("{{printf \"%s:%d:%q\" .ID 7 \"x\"}}", "3f2a:7:\"x\""),
            ("{{/* nothing */}}.", "."),
            ("{{\"lit\"}}{{`raw`}}{{$.ID}}", "litraw3f2a"),
            ("{{ge 3 2}} {{ne 1 2}} {{or .Empty \"x\"}}", "true true x"),
        ] {
            let template_read =
                Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
            assert_eq!(template_read.render(&value).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for template in
            ["{{", "{{.A", "{{foo .}}", "{{end}}", "{{if .A}}x", "{{range}}{{end}}", "{{.A | }}", "{{(.A}}"]
        {
            assert!(Template::parse(template).is_err(), "{template}");
        }
        let open = Template::parse("{{.Labels.nosuch}}").unwrap();
        assert_eq!(open.render(&json!({"Labels": {}})).unwrap(), "<no value>");
        let template = Template::parse("{{.Nmae}}").unwrap();
        assert_eq!(
            template.render(&json!({"Name": 1})).unwrap_err().to_string(),
            "template: no member \"Nmae\""
        );
        let deep = "{{if .}}".repeat(500);
        assert!(Template::parse(&deep).is_err());
    }
}
