//! What is wrong in a scenario file, and how it is shown: with file, line and column, and what was meant. Not
//! what is right, which `scenario` knows.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Patch, Renderer, Snippet};

/// One thing that is wrong.
#[derive(Debug)]
pub struct Fault {
    /// These bytes of the file.
    pub span: Range<usize>,
    /// The whole of it in a line.
    pub title: String,
    /// What is said at the place itself.
    pub label: String,
    /// What should stand there instead.
    pub replacement: Option<String>,
}

impl Fault {
    pub fn new(span: Range<usize>, title: String, label: impl Into<String>) -> Fault {
        Fault { span, title, label: label.into(), replacement: None }
    }

    /// A name that is not known, and the known one that is nearest.
    pub fn unknown<'a>(
        span: Range<usize>,
        title: String,
        name: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> Fault {
        let meant = nearest(name, known);
        let label = meant.map_or_else(|| "not known".into(), |meant| format!("did you mean `{meant}`?"));
        Fault { span, title, label, replacement: meant.map(Into::into) }
    }
}

/// All of them from top to bottom, ending in a newline.
pub fn render(faults: &mut [Fault], file: &str, text: &str, is_coloured: bool) -> String {
    faults.sort_by_key(|fault| fault.span.start);
    let renderer = if is_coloured { Renderer::styled() } else { Renderer::plain() };
    let one = |fault: &Fault| {
        let end = fault.span.end.min(text.len());
        let span = fault.span.start.min(end)..end;
        let here = AnnotationKind::Primary.span(span.clone()).label(&fault.label);
        let snippet = Snippet::source(text).path(file).annotation(here);
        let mut groups = vec![Level::ERROR.primary_title(&fault.title).element(snippet)];
        if let Some(replacement) = &fault.replacement {
            let patch = Snippet::source(text).path(file).patch(Patch::new(span, replacement));
            groups.push(Level::HELP.secondary_title("write").element(patch));
        }
        renderer.render(&groups)
    };
    faults.iter().map(one).collect::<Vec<_>>().join("\n\n") + "\n"
}

/// The known name that a slip of the fingers turns into this one, if any does: up to a third of its letters.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.filter_map(|known| {
        let distance = strsim::damerau_levenshtein(name, known);
        (distance <= (known.len().max(name.len()) / 3).max(1)).then_some((distance, known))
    });
    near.min().map(|(_, known)| known)
}
