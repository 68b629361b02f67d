//! What is wrong with a configuration, and how it is shown: in the file with line and column, or by the name
//! of the variable or flag. Not what is right, which `key` and `rules` know.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Patch, Renderer, Snippet};

use crate::config::load::File;
use crate::config::reading::Mistake;

/// Where something wrong stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// These bytes of the file.
    File(Range<usize>),
    /// The value, or the name, of this environment variable.
    Variable(String),
    /// The value of this flag.
    Flag(&'static str),
    /// Not in one place.
    Nowhere,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where it stands.
    pub place: Place,
    /// The whole of it in a line.
    pub title: String,
    /// What is said at the place itself.
    pub label: String,
    /// How to mend it, where the label does not say so.
    pub help: Option<String>,
    /// What should stand at the place instead.
    pub replacement: Option<String>,
    /// Another place in the file that has to do with it.
    pub related: Option<(Range<usize>, String)>,
}

impl Diagnostic {
    pub(crate) fn new(place: Place, title: String, label: impl Into<String>) -> Self {
        Self { place, title, label: label.into(), help: None, replacement: None, related: None }
    }

    pub(crate) fn of_value(place: Place, mistake: Mistake) -> Self {
        let Mistake { title, label, help, replacement } = mistake;
        Self { place, title, label, help, replacement, related: None }
    }

    fn render(&self, file: Option<&File>, renderer: &Renderer) -> String {
        let (Some(file), Place::File(span)) = (file, &self.place) else {
            return self.render_outside(renderer);
        };
        let primary = AnnotationKind::Primary.span(span.clone()).label(&self.label);
        let mut snippet = Snippet::source(&file.text).path(&file.name).annotation(primary);
        if let Some((span, label)) = &self.related {
            snippet = snippet.annotation(AnnotationKind::Context.span(span.clone()).label(label));
        }
        let mut main = Level::ERROR.primary_title(&self.title).element(snippet);
        if let Some(help) = &self.help {
            main = main.element(Level::HELP.message(help));
        }
        let mend = self.replacement.as_ref().map(|replacement| {
            Level::HELP.secondary_title("write").element(
                Snippet::source(&file.text).path(&file.name).patch(Patch::new(span.clone(), replacement)),
            )
        });
        let groups: Vec<Group<'_>> = [Some(main), mend].into_iter().flatten().collect();
        renderer.render(&groups)
    }

    fn render_outside(&self, renderer: &Renderer) -> String {
        let title = match &self.place {
            Place::Variable(name) => format!("environment variable {name}: {}", self.title),
            Place::Flag(name) => format!("{name}: {}", self.title),
            Place::File(_) | Place::Nowhere => self.title.clone(),
        };
        let mut group = Level::ERROR.primary_title(title).element(Level::NOTE.message(&self.label));
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        if let Some(replacement) = &self.replacement {
            group = group.element(Level::HELP.message(format!("write {replacement}")));
        }
        renderer.render(&[group])
    }
}

/// Everything that is wrong, in the order of the file, then variables, then flags.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    file: Option<File>,
    /// At least one.
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(crate) fn new(file: Option<File>, mut list: Vec<Diagnostic>) -> Self {
        // The table that was walked is sorted by name; whoever mends a file goes from top to bottom.
        list.sort_by_key(|diagnostic| match &diagnostic.place {
            Place::File(span) => (0, span.start),
            Place::Variable(_) => (1, 0),
            Place::Flag(_) => (2, 0),
            Place::Nowhere => (3, 0),
        });
        Self { file, list }
    }

    /// One after the other.
    #[must_use]
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// Whether nothing is wrong but the command line.
    #[must_use]
    pub fn only_flags(&self) -> bool {
        self.list.iter().all(|diagnostic| matches!(diagnostic.place, Place::Flag(_)))
    }

    /// For a terminal, in colours if it has them, ending in a newline.
    #[must_use]
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let texts: Vec<_> =
            self.list.iter().map(|diagnostic| diagnostic.render(self.file.as_ref(), &renderer)).collect();
        texts.join("\n\n") + "\n"
    }
}
