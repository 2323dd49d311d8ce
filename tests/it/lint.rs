//! `rowgate policies lint`: each rule finds its mistake and nothing else, and is silent once it is mended.

mod commands;
mod files;
mod page;
mod rules;
mod size;
