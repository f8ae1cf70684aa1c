//! What a condition is, and how it is removed:
//!
//! - a call that makes a guard of a store write (any function that returns `Guard`): the guard always holds;
//! - a guarded write of the store: all its guards together;
//! - an operand of `&&` or `||`: it is left out;
//! - the whole of an `if`, where it is one operand: it never holds, and always does;
//! - the guard of a match arm, and the closure of `filter`, `all`, `any`, `is_some_and` and the like: always holds;
//! - a statement `something?;`, whose result is only whether to go on: it is left out.
//!
//! What is bound by a pattern (`let … else`, `if let`, arms of a match) is no condition here; cargo-mutants deletes arms.

use std::{collections::HashSet, ops::Range};

use syn::{
    BinOp, Expr, ExprCall, ExprClosure, ExprIf, ExprMethodCall, ItemFn, ItemImpl, ItemMod, Macro, ReturnType, Stmt,
    parse::Parser, punctuated::Punctuated, spanned::Spanned, visit::Visit,
};

/// How a condition is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It always holds.
    Holds,
    /// It never does.
    Never,
    /// A guard of the store always holds.
    Unguarded,
    /// All guards of a write of the store do.
    Unconditional,
    /// The statement is left out.
    Skipped,
}

/// A condition, and where it stands.
#[derive(Debug)]
pub struct Condition {
    pub file: String,
    /// The function it stands in.
    pub function: String,
    /// Its text on one line.
    pub text: String,
    pub removal: Removal,
    /// Bytes of the file.
    pub place: Range<usize>,
    /// Which one of those that are alike.
    pub number: usize,
}

impl Condition {
    /// What it is called, whichever line it stands on.
    pub fn key(&self) -> String {
        let how = match self.removal {
            Removal::Holds => "holds",
            Removal::Never => "never",
            Removal::Unguarded => "unguarded",
            Removal::Unconditional => "unconditional",
            Removal::Skipped => "skipped",
        };
        let number = if self.number > 0 { format!(" #{}", self.number + 1) } else { String::new() };
        format!("{}: {}: `{}` {how}{number}", self.file, self.function, self.text)
    }
}

/// Numbers those that are alike.
pub fn number_alike(conditions: &mut [Condition]) {
    let mut seen = std::collections::HashMap::new();
    for condition in conditions {
        let count = seen.entry(condition.key()).or_insert(0);
        condition.number = *count;
        *count += 1;
    }
}

/// The names of functions that return a guard.
pub fn constructors<'a>(texts: impl Iterator<Item = &'a str>) -> HashSet<String> {
    #[derive(Default)]
    struct Returning(HashSet<String>);
    impl<'ast> Visit<'ast> for Returning {
        fn visit_signature(&mut self, it: &'ast syn::Signature) {
            if let ReturnType::Type(_, returned) = &it.output
                && matches!(&**returned, syn::Type::Path(path) if path.path.is_ident("Condition"))
            {
                self.0.insert(it.ident.to_string());
            }
        }
    }
    // Made by a macro.
    let mut found = Returning(["eq", "ne", "lt", "le", "gt", "ge"].map(str::to_owned).into());
    for text in texts {
        found.visit_file(&syn::parse_file(text).expect("a source"));
    }
    found.0
}

/// The conditions of a file.
pub fn conditions(path: &str, text: &str, constructors: &HashSet<String>) -> Vec<Condition> {
    let in_store = path.starts_with("shared/src/store");
    let mut finder = Finder { path, text, constructors, in_store, function: String::new(), found: Vec::new() };
    finder.visit_file(&syn::parse_file(text).expect("a source"));
    finder.found
}

struct Finder<'a> {
    path: &'a str,
    text: &'a str,
    constructors: &'a HashSet<String>,
    in_store: bool,
    function: String,
    found: Vec<Condition>,
}

fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|it| {
        it.path().is_ident("test")
            || it.path().is_ident("cfg")
                && it.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

fn has_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(it) => has_let(&it.left) || has_let(&it.right),
        Expr::Paren(it) => has_let(&it.expr),
        _ => false,
    }
}

fn logical(expression: &Expr) -> Option<&syn::ExprBinary> {
    match expression {
        Expr::Binary(it) if matches!(it.op, BinOp::And(_) | BinOp::Or(_)) => Some(it),
        Expr::Paren(it) => logical(&it.expr),
        _ => None,
    }
}

impl Finder<'_> {
    fn add(&mut self, at: &impl Spanned, removal: Removal) {
        let place = at.span().byte_range();
        let text = self.text[place.clone()].split_whitespace().collect::<Vec<_>>().join(" ");
        let (file, function) = (self.path.to_owned(), self.function.clone());
        self.found.push(Condition { file, function, text, removal, place, number: 0 });
    }

    fn within(&mut self, name: String, visit: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.function, name);
        visit(self);
        self.function = outer;
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, it: &'ast ItemMod) {
        if !for_tests(&it.attrs) {
            syn::visit::visit_item_mod(self, it);
        }
    }

    fn visit_item_impl(&mut self, it: &'ast ItemImpl) {
        let shown = it.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
        let shown = shown.is_some_and(|name| name.ident == "Debug" || name.ident == "Display");
        if !shown && !for_tests(&it.attrs) {
            syn::visit::visit_item_impl(self, it);
        }
    }

    fn visit_item_fn(&mut self, it: &'ast ItemFn) {
        if it.sig.constness.is_none() && !for_tests(&it.attrs) {
            self.within(it.sig.ident.to_string(), |this| syn::visit::visit_item_fn(this, it));
        }
    }

    fn visit_impl_item_fn(&mut self, it: &'ast syn::ImplItemFn) {
        if it.sig.constness.is_none() && !for_tests(&it.attrs) {
            self.within(it.sig.ident.to_string(), |this| syn::visit::visit_impl_item_fn(this, it));
        }
    }

    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}

    fn visit_expr_if(&mut self, it: &'ast ExprIf) {
        if !has_let(&it.cond) && logical(&it.cond).is_none() {
            self.add(&it.cond, Removal::Never);
            self.add(&it.cond, Removal::Holds);
        }
        syn::visit::visit_expr_if(self, it);
    }

    fn visit_arm(&mut self, it: &'ast syn::Arm) {
        if let Some((_, guard)) = &it.guard
            && !has_let(guard)
            && logical(guard).is_none()
        {
            self.add(guard, Removal::Holds);
        }
        syn::visit::visit_arm(self, it);
    }

    fn visit_expr_binary(&mut self, it: &'ast syn::ExprBinary) {
        let removal = match it.op {
            BinOp::And(_) => Some(Removal::Holds),
            BinOp::Or(_) => Some(Removal::Never),
            _ => None,
        };
        if let Some(removal) = removal {
            for operand in [&*it.left, &*it.right] {
                let same = logical(operand)
                    .is_some_and(|inner| std::mem::discriminant(&inner.op) == std::mem::discriminant(&it.op));
                if !same && !has_let(operand) {
                    self.add(operand, removal);
                }
            }
        }
        syn::visit::visit_expr_binary(self, it);
    }

    fn visit_expr_method_call(&mut self, it: &'ast ExprMethodCall) {
        let predicate = ["filter", "all", "any", "is_some_and", "is_ok_and", "is_none_or", "take_while"];
        if predicate.iter().any(|name| it.method == name)
            && let Some(Expr::Closure(ExprClosure { body, .. })) = it.args.first()
            && logical(body).is_none()
            && !matches!(**body, Expr::Block(_) | Expr::Match(_))
        {
            self.add(&**body, Removal::Holds);
        }
        syn::visit::visit_expr_method_call(self, it);
    }

    fn visit_expr_call(&mut self, it: &'ast ExprCall) {
        if self.in_store
            && let Expr::Path(called) = &*it.func
            && let Some(name) = called.path.segments.last()
        {
            let variant = ["Any", "Is", "Exists", "Absent"].iter().any(|variant| name.ident == variant)
                && called.path.segments.iter().any(|segment| segment.ident == "Condition");
            let guarded = ["put_new", "update", "delete", "check"].iter().any(|write| name.ident == write)
                && called.path.segments.iter().any(|segment| segment.ident == "Write");
            let guards = it.args.iter().nth(1).map(|guards| self.text[guards.span().byte_range()].to_owned());
            if guarded && guards.as_deref() != Some("vec![]") {
                self.add(it, Removal::Unconditional);
            }
            if variant || self.constructors.contains(&name.ident.to_string()) {
                self.add(it, Removal::Unguarded);
            }
        }
        syn::visit::visit_expr_call(self, it);
    }

    fn visit_stmt(&mut self, it: &'ast Stmt) {
        if let Stmt::Expr(Expr::Try(_), Some(_)) = it {
            self.add(it, Removal::Skipped);
        }
        syn::visit::visit_stmt(self, it);
    }

    /// The elements of a `vec!`, and what is joined.
    fn visit_macro(&mut self, it: &'ast Macro) {
        if ["vec", "join", "try_join"].iter().any(|name| it.path.is_ident(name)) {
            let parsed = Punctuated::<Expr, syn::Token![,]>::parse_terminated.parse2(it.tokens.clone());
            if let Ok(elements) = parsed {
                let elements: &'static Punctuated<Expr, syn::Token![,]> = Box::leak(Box::new(elements));
                elements.iter().for_each(|element| self.visit_expr(element));
            }
        }
    }
}
