//! The template's text as nodes.

use super::{Expr, Node, functions};
use crate::error::Error;
use serde_json::Value;

/// How deep blocks and brackets may be nested.
const MAX_NESTING: usize = 64;

/// A piece of the template: text, or what stands between `{{` and `}}`.
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// `.A.B`, or only `.` (an empty path).
    Field(Vec<String>),
    /// `$name.A.B`
    Variable(String, Vec<String>),
    Word(String),
    Literal(Value),
    Open,
    /// `)` and what of `.A.B` follows.
    Close(Vec<String>),
    Pipe,
    Assign,
    Comma,
}

pub fn parse(text: &str) -> Result<Vec<Node>, Error> {
    let mut pieces = pieces(text)?.into_iter();
    let (nodes, end) = block(&mut pieces, 0)?;
    match end {
        Ended::OfText => Ok(nodes),
        _ => Err(wrong("an {{end}} or {{else}} that belongs to nothing")),
    }
}

fn wrong(what: &str) -> Error {
    Error::usage(format!("template: {what}"))
}

fn pieces(text: &str) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    loop {
        let (before, after) =
            rest.split_once("{{").map_or((rest, None), |(before, after)| (before, Some(after)));
        let before = if trim_next { before.trim_start() } else { before };
        let Some(after) = after else {
            pieces.push(Piece::Text(before.to_owned()));
            return Ok(pieces);
        };
        let (trim_before, after) = match after.strip_prefix("- ") {
            Some(inner) => (true, inner),
            None => (false, after),
        };
        pieces.push(Piece::Text(if trim_before { before.trim_end() } else { before }.to_owned()));
        let end = end_of_action(after).ok_or_else(|| wrong("{{ without }}"))?;
        let (inner, tail) = (&after[..end], &after[end + 2..]);
        let inner = if let Some(shorter) = inner.strip_suffix(" -") {
            trim_next = true;
            shorter
        } else {
            trim_next = false;
            inner
        };
        if !inner.trim_start().starts_with("/*") {
            pieces.push(Piece::Action(tokens(inner)?));
        }
        rest = tail;
    }
}

/// Where `}}` is, outside of strings.
fn end_of_action(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (None, '"' | '`') => quote = Some(c),
            (None, '}') if text[at + 1..].starts_with('}') => return Some(at),
            _ => {}
        }
    }
    None
}

fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '.' => {
                let (path, used) = path(rest);
                tokens.push(Token::Field(path));
                used.max(1)
            }
            '$' => {
                let name = name_at(&rest[1..]);
                let (path, used) = path(&rest[1 + name.len()..]);
                tokens.push(Token::Variable(name.to_owned(), path));
                1 + name.len() + used
            }
            '(' => {
                tokens.push(Token::Open);
                1
            }
            ')' => {
                let (path, used) = path(&rest[1..]);
                tokens.push(Token::Close(path));
                1 + used
            }
            '|' | ',' => {
                tokens.push(if first == '|' { Token::Pipe } else { Token::Comma });
                1
            }
            ':' if rest.starts_with(":=") => {
                tokens.push(Token::Assign);
                2
            }
            '"' | '`' => {
                let (value, used) = string(rest)?;
                tokens.push(Token::Literal(value.into()));
                used
            }
            '0'..='9' | '-' => {
                let end =
                    rest[1..].find(|c: char| !c.is_ascii_digit() && c != '.').map_or(rest.len(), |at| at + 1);
                let number: Value =
                    serde_json::from_str(&rest[..end]).map_err(|_| wrong("a number is expected"))?;
                tokens.push(Token::Literal(number));
                end
            }
            _ => {
                let name = name_at(rest);
                if name.is_empty() {
                    return Err(wrong(&format!("unexpected {:?}", first.to_string())));
                }
                tokens.push(match name {
                    "true" => Token::Literal(true.into()),
                    "false" => Token::Literal(false.into()),
                    "nil" => Token::Literal(Value::Null),
                    _ => Token::Word(name.to_owned()),
                });
                name.len()
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn name_at(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// `.A.B` at the start of `text`, and how many bytes it has.
fn path(text: &str) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    let mut used = 0;
    while let Some(rest) = text[used..].strip_prefix('.') {
        let name = name_at(rest);
        if name.is_empty() {
            break;
        }
        path.push(name.to_owned());
        used += 1 + name.len();
    }
    (path, used)
}

/// A quoted string at the start of `text`, and how many bytes it has.
fn string(text: &str) -> Result<(String, usize), Error> {
    let open = wrong("a quote is open");
    if let Some(rest) = text.strip_prefix('`') {
        let end = rest.find('`').ok_or(open)?;
        return Ok((rest[..end].to_owned(), end + 2));
    }
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, at + 1)),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other)) => value.push(other),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err(open)
}

/// What ended a block.
enum Ended {
    OfText,
    ByEnd,
    /// `{{else}}`, or `{{else if …}}` with its tokens.
    ByElse(Vec<Token>),
}

type Pieces = std::vec::IntoIter<Piece>;

fn block(pieces: &mut Pieces, depth: usize) -> Result<(Vec<Node>, Ended), Error> {
    if depth > MAX_NESTING {
        return Err(wrong("nested too deep"));
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let tokens = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        match tokens.first() {
            Some(Token::Word(word)) if word == "end" => return Ok((nodes, Ended::ByEnd)),
            Some(Token::Word(word)) if word == "else" => {
                return Ok((nodes, Ended::ByElse(tokens[1..].to_vec())));
            }
            Some(Token::Word(word)) if word == "if" => nodes.push(condition(&tokens[1..], pieces, depth)?),
            Some(Token::Word(word)) if word == "with" => {
                let of = expression(&tokens[1..])?;
                let (body, otherwise) = body(pieces, depth)?;
                nodes.push(Node::With { of, body, otherwise });
            }
            Some(Token::Word(word)) if word == "range" => {
                let (names, over) = range(&tokens[1..])?;
                let (body, otherwise) = body(pieces, depth)?;
                nodes.push(Node::Range { names, over, body, otherwise });
            }
            Some(Token::Variable(name, path)) if path.is_empty() && tokens.get(1) == Some(&Token::Assign) => {
                nodes.push(Node::Set(name.clone(), expression(&tokens[2..])?));
            }
            _ => nodes.push(Node::Print(expression(&tokens)?)),
        }
    }
    Ok((nodes, Ended::OfText))
}

fn body(pieces: &mut Pieces, depth: usize) -> Result<(Vec<Node>, Vec<Node>), Error> {
    let (body, end) = block(pieces, depth + 1)?;
    match end {
        Ended::ByEnd => Ok((body, Vec::new())),
        Ended::ByElse(rest) if rest.is_empty() => {
            let (otherwise, Ended::ByEnd) = block(pieces, depth + 1)? else {
                return Err(wrong("{{end}} is missing"));
            };
            Ok((body, otherwise))
        }
        _ => Err(wrong("{{end}} is missing")),
    }
}

fn condition(tokens: &[Token], pieces: &mut Pieces, depth: usize) -> Result<Node, Error> {
    let mut branches = Vec::new();
    let mut condition = expression(tokens)?;
    loop {
        let (body, end) = block(pieces, depth + 1)?;
        branches.push((condition, body));
        match end {
            Ended::ByEnd => return Ok(Node::If { branches, otherwise: Vec::new() }),
            Ended::ByElse(rest) if rest.is_empty() => {
                let (otherwise, Ended::ByEnd) = block(pieces, depth + 1)? else {
                    return Err(wrong("{{end}} is missing"));
                };
                return Ok(Node::If { branches, otherwise });
            }
            Ended::ByElse(rest) if rest[0] == Token::Word("if".into()) => condition = expression(&rest[1..])?,
            _ => return Err(wrong("{{end}} is missing")),
        }
    }
}

/// `.A`, `$v := .A`, `$k, $v := .A`
fn range(tokens: &[Token]) -> Result<(Vec<String>, Expr), Error> {
    let plain = |token: &Token| match token {
        Token::Variable(name, path) if path.is_empty() => Some(name.clone()),
        _ => None,
    };
    match tokens {
        [value, Token::Assign, rest @ ..] => {
            let value = plain(value).ok_or_else(|| wrong("a variable is expected"))?;
            Ok((vec![value], expression(rest)?))
        }
        [key, Token::Comma, value, Token::Assign, rest @ ..] => {
            let names = plain(key).zip(plain(value)).ok_or_else(|| wrong("a variable is expected"))?;
            Ok((vec![names.0, names.1], expression(rest)?))
        }
        _ => Ok((Vec::new(), expression(tokens)?)),
    }
}

fn expression(tokens: &[Token]) -> Result<Expr, Error> {
    let mut at = 0;
    let expr = pipeline(tokens, &mut at, 0)?;
    if at == tokens.len() { Ok(expr) } else { Err(wrong("something is left over in {{ }}")) }
}

/// `a | f x | g`: each command gets the value before it as its last argument.
fn pipeline(tokens: &[Token], at: &mut usize, depth: usize) -> Result<Expr, Error> {
    let mut value = command(tokens, at, depth, None)?;
    while tokens.get(*at) == Some(&Token::Pipe) {
        *at += 1;
        value = command(tokens, at, depth, Some(value))?;
    }
    Ok(value)
}

fn command(tokens: &[Token], at: &mut usize, depth: usize, piped: Option<Expr>) -> Result<Expr, Error> {
    if let Some(Token::Word(name)) = tokens.get(*at) {
        if !functions::KNOWN.contains(&name.as_str()) {
            return Err(wrong(&format!("function {name:?} not defined")));
        }
        *at += 1;
        let mut arguments = Vec::new();
        while let Some(argument) = operand(tokens, at, depth)? {
            arguments.push(argument);
        }
        arguments.extend(piped);
        return Ok(Expr::Call(name.clone(), arguments));
    }
    match (operand(tokens, at, depth)?, piped) {
        (Some(value), None) => Ok(value),
        _ => Err(wrong("a value is missing")),
    }
}

fn operand(tokens: &[Token], at: &mut usize, depth: usize) -> Result<Option<Expr>, Error> {
    let expr = match tokens.get(*at) {
        Some(Token::Field(path)) => Expr::Here(path.clone()),
        Some(Token::Variable(name, path)) => Expr::Variable(name.clone(), path.clone()),
        Some(Token::Literal(value)) => Expr::Literal(value.clone()),
        Some(Token::Word(name)) if functions::KNOWN.contains(&name.as_str()) => {
            Expr::Call(name.clone(), Vec::new())
        }
        Some(Token::Open) if depth < MAX_NESTING => {
            *at += 1;
            let inner = pipeline(tokens, at, depth + 1)?;
            match tokens.get(*at) {
                Some(Token::Close(path)) => Expr::Of(Box::new(inner), path.clone()),
                _ => return Err(wrong("a bracket is open")),
            }
        }
        _ => return Ok(None),
    };
    *at += 1;
    Ok(Some(expr))
}
