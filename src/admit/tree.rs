//! What a parsed statement mentions: functions, relations, types, operators, kinds of nodes.
//!
//! The tree is walked through its `Serialize` implementation, which leads through every field of every
//! node: no kind of node can be forgotten here. Must never decide what a mention means ([`super::rules`]).

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::LazyLock;

use pg_query::NodeEnum;
use pg_query::protobuf::ParseResult;
use serde::ser::{self, Impossible, Serialize, Serializer};

/// A name as the grammar normalised it: folded, unescaped, cut to 63 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The part before the last dot, if the name was qualified.
    pub schema: Option<Box<str>>,
    /// The last part.
    pub name: Box<str>,
}

impl Name {
    /// From the parts of a dotted name; `None` if there are none.
    fn from_parts(mut parts: Vec<String>) -> Option<Self> {
        let name = parts.pop()?.into();
        Some(Self { schema: parts.pop().map(Into::into), name })
    }
}

/// Everything that rules look at in one statement.
#[derive(Debug, Default)]
pub struct Mentions {
    /// Functions that are called by name.
    pub functions: Vec<Name>,
    /// Fields selected with a dot, which may be calls in function notation: `(x).f`, `t.f`.
    pub fields: Vec<Box<str>>,
    /// Relations that are read or written, and names of common table expressions used as such.
    pub relations: Vec<Name>,
    /// Types that are named.
    pub types: Vec<Name>,
    /// Operators, qualified or not.
    pub operators: Vec<Name>,
    /// Names that WITH gives.
    pub common_tables: HashSet<Box<str>>,
    /// The first node of a kind that no statement that reads or changes rows consists of.
    pub foreign_node: Option<&'static str>,
    /// Whether rows are sampled: that moves the session's random generator.
    pub samples: bool,
    /// Settings that are read under a name written out as a literal: `current_setting('TimeZone')`. Such a
    /// call is not among the functions.
    pub settings: Vec<Box<str>>,
}

/// How a statement's node is called in the grammar, and the node itself; `None` for an empty statement.
pub fn statement(tree: &ParseResult) -> Option<&NodeEnum> {
    tree.stmts.first()?.stmt.as_ref()?.node.as_ref()
}

/// Walks the whole tree. Its depth is bounded by the parser.
pub fn mentions(tree: &ParseResult) -> Mentions {
    let mut walker = Walker { mentions: Mentions::default(), name: None, literals: false };
    if tree.serialize(&mut walker).is_err() {
        // A shape that the crate's trees do not have today: not understood, so not known either.
        walker.mentions.foreign_node.get_or_insert("unknown");
    }
    walker.mentions
}

/// Nodes of statements that read or change rows, and of EXPLAIN. Whatever is not among these, and whatever
/// a later grammar adds, is foreign.
const KNOWN_NODES: &str = "
    ParseResult RawStmt Node List String Integer Float Boolean BitString AConst
    SelectStmt InsertStmt UpdateStmt DeleteStmt MergeStmt ExplainStmt DefElem
    RangeVar RangeSubselect RangeFunction RangeTableFunc RangeTableFuncCol RangeTableSample JoinExpr
    Alias ColumnDef ColumnRef ParamRef ResTarget MultiAssignRef SetToDefault
    WithClause CommonTableExpr CteSearchClause CteCycleClause
    InferClause IndexElem OnConflictClause MergeWhenClause MergeSupportFunc
    ReturningClause ReturningOption LockingClause
    SortBy WindowDef GroupingSet GroupingFunc
    AExpr BoolExpr SubLink FuncCall NamedArgExpr AStar AIndices AIndirection AArrayExpr RowExpr
    CaseExpr CaseWhen CoalesceExpr MinMaxExpr NullTest BooleanTest SqlValueFunction
    TypeCast TypeName CollateClause XmlExpr XmlSerialize
    JsonFormat JsonReturning JsonValueExpr JsonOutput JsonArgument JsonFuncExpr JsonTable JsonTableColumn
    JsonTablePathSpec JsonKeyValue JsonParseExpr JsonScalarExpr JsonSerializeExpr JsonBehavior
    JsonObjectConstructor JsonArrayConstructor JsonArrayQueryConstructor JsonAggConstructor JsonObjectAgg
    JsonArrayAgg JsonIsPredicate";

static KNOWN: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| KNOWN_NODES.split_ascii_whitespace().collect());

/// A shape (a map, a tuple) that trees do not have.
#[derive(Debug, thiserror::Error)]
#[error("a tree of an unknown shape")]
struct Strange;

impl ser::Error for Strange {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

type Walked = Result<(), Strange>;

/// Values without names in them.
macro_rules! leaves {
    ($($method:ident($type:ty)),* $(,)?) => {
        $(fn $method(self, _: $type) -> Walked {
            Ok(())
        })*
    };
}

/// Shapes that trees do not have.
macro_rules! absent {
    ($($method:ident($($type:ty),*) -> $result:ident),* $(,)?) => {
        $(fn $method(self, $(_: $type),*) -> Result<Self::$result, Strange> {
            Err(Strange)
        })*
    };
}

/// Goes through a tree and notes what it meets.
struct Walker {
    mentions: Mentions,
    /// Where strings are put while a name is being read; else they are passed over.
    name: Option<Vec<String>>,
    /// Whether these strings are constants rather than names.
    literals: bool,
}

impl Walker {
    /// The strings that a field consists of: a plain string, or a list of `String` nodes. Strings further
    /// down, such as literals in subscripts, are none of them.
    fn parts<T: Serialize + ?Sized>(&mut self, field: &T) -> Vec<String> {
        self.name = Some(Vec::new());
        // A strange shape is noticed by the walk through the same field.
        let _ = field.serialize(&mut *self);
        self.name.take().unwrap_or_default()
    }

    /// The string constants that stand in a list by themselves, not as part of an expression.
    fn literals<T: Serialize + ?Sized>(&mut self, field: &T) -> Vec<String> {
        self.literals = true;
        let literals = self.parts(field);
        self.literals = false;
        literals
    }

    /// `current_setting` takes a name and a Boolean: if one string is written out, and it is the name of a
    /// setting, then it is the one that is read, since no such name is a Boolean.
    fn note_arguments<T: Serialize + ?Sized>(&mut self, arguments: &T) {
        let reads_setting = |function: &mut Name| {
            &*function.name == "current_setting"
                && function.schema.as_deref().is_none_or(|schema| schema == "pg_catalog")
        };
        // The function's name is the field before its arguments.
        let Some(function) = self.mentions.functions.pop_if(reads_setting) else { return };
        match <[String; 1]>::try_from(self.literals(arguments)) {
            Ok([setting]) => self.mentions.settings.push(setting.to_ascii_lowercase().into()),
            Err(_) => self.mentions.functions.push(function),
        }
    }

    /// The names in this field, if a node of this kind is named by it.
    fn note<T: Serialize + ?Sized>(&mut self, node: &'static str, key: &'static str, field: &T) {
        match (node, key) {
            ("FuncCall", "funcname") => {
                let name = Name::from_parts(self.parts(field));
                self.mentions.functions.extend(name);
            }
            ("FuncCall", "args") => self.note_arguments(field),
            ("TypeName", "names") => {
                let name = Name::from_parts(self.parts(field));
                self.mentions.types.extend(name);
            }
            ("AExpr", "name") | ("SubLink", "oper_name") | ("SortBy", "use_op") => {
                let name = Name::from_parts(self.parts(field));
                self.mentions.operators.extend(name);
            }
            ("ColumnRef", "fields") => {
                let parts = self.parts(field);
                self.mentions.fields.extend(parts.into_iter().skip(1).map(Into::into));
            }
            ("AIndirection", "indirection") => {
                let parts = self.parts(field);
                self.mentions.fields.extend(parts.into_iter().map(Into::into));
            }
            ("CommonTableExpr", "ctename") => {
                let parts = self.parts(field);
                self.mentions.common_tables.extend(parts.into_iter().map(Into::into));
            }
            _ => {}
        }
    }
}

/// A node whose fields are being gone through.
struct Fields<'w> {
    walker: &'w mut Walker,
    node: &'static str,
    /// The parts of a relation's name, which stand in fields of their own.
    relation: Vec<String>,
}

impl ser::SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Strange;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, field: &T) -> Walked {
        if self.walker.name.is_some() {
            return field.serialize(&mut *self.walker);
        }
        self.walker.note(self.node, key, field);
        match (self.node, key) {
            ("RangeVar", "schemaname" | "relname") => {
                let parts = self.walker.parts(field);
                self.relation.extend(parts.into_iter().filter(|part| !part.is_empty()));
                Ok(())
            }
            // These are aliases of relations that stand in FROM.
            ("LockingClause", "locked_rels") => Ok(()),
            _ => field.serialize(&mut *self.walker),
        }
    }

    fn end(self) -> Walked {
        self.walker.mentions.relations.extend(Name::from_parts(self.relation));
        Ok(())
    }
}

impl<'w> Serializer for &'w mut Walker {
    type Ok = ();
    type Error = Strange;
    type SerializeSeq = Self;
    type SerializeTuple = Impossible<(), Strange>;
    type SerializeTupleStruct = Impossible<(), Strange>;
    type SerializeTupleVariant = Impossible<(), Strange>;
    type SerializeMap = Impossible<(), Strange>;
    type SerializeStruct = Fields<'w>;
    type SerializeStructVariant = Impossible<(), Strange>;

    fn serialize_struct(self, node: &'static str, _: usize) -> Result<Fields<'w>, Strange> {
        if !KNOWN.contains(node) {
            self.mentions.foreign_node.get_or_insert(node);
        }
        self.mentions.samples |= node == "RangeTableSample";
        Ok(Fields { walker: self, node, relation: Vec::new() })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        node: &T,
    ) -> Walked {
        let wanted = if self.literals { ["AConst", "Sval"] } else { ["String", "String"] };
        if self.name.is_some() && !wanted.contains(&variant) {
            return Ok(());
        }
        node.serialize(self)
    }

    fn serialize_str(self, text: &str) -> Walked {
        if let Some(name) = &mut self.name {
            name.push(text.to_owned());
        }
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Strange> {
        Ok(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Walked {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Walked {
        value.serialize(self)
    }

    leaves! {
        serialize_bool(bool), serialize_i8(i8), serialize_i16(i16), serialize_i32(i32),
        serialize_i64(i64), serialize_u8(u8), serialize_u16(u16), serialize_u32(u32),
        serialize_u64(u64), serialize_f32(f32), serialize_f64(f64), serialize_char(char),
        serialize_bytes(&[u8]), serialize_unit_struct(&'static str),
    }

    fn serialize_none(self) -> Walked {
        Ok(())
    }

    fn serialize_unit(self) -> Walked {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Walked {
        Ok(())
    }

    absent! {
        serialize_tuple(usize) -> SerializeTuple,
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> SerializeTupleVariant,
        serialize_map(Option<usize>) -> SerializeMap,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> SerializeStructVariant,
    }
}

impl ser::SerializeSeq for &mut Walker {
    type Ok = ();
    type Error = Strange;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Walked {
        value.serialize(&mut **self)
    }

    fn end(self) -> Walked {
        Ok(())
    }
}
