//! A header block as lines, as any client may part it: what is taken out of one, so that no client reads it
//! there. Not what the gateway itself makes of a block.

/// Some clients drop as many bytes as a version line has, whatever they are, and read on from there.
const UNSEEN_LEN: usize = b"NATS/1.0\r\n".len();

/// The block without the lines of unwanted names; of a line that hides such a name, without that.
pub(super) fn without(header: &[u8], is_unwanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len());
    for line in pieces(header) {
        match unwanted_from(&out, line, &is_unwanted) {
            None => out.extend_from_slice(line),
            Some(0) if line.ends_with(b"\n") && out.ends_with(b"\r") => {
                // To most clients it was the end of the line before.
                out.push(b'\n');
            }
            Some(0) => {}
            Some(at) => {
                let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
                let end = line.iter().position(is_end).unwrap_or(line.len());
                out.extend_from_slice(&line[..at]);
                out.extend_from_slice(&line[end..]);
            }
        }
    }
    out
}

/// Whether `without` has something to take out.
pub(super) fn has(header: &[u8], is_unwanted: impl Fn(&[u8]) -> bool) -> bool {
    let mut n_before = 0;
    pieces(header).any(|line| {
        let before = &header[..n_before];
        n_before += line.len();
        unwanted_from(before, line, &is_unwanted).is_some()
    })
}

/// From where on a line after these bytes is unwanted.
fn unwanted_from(before: &[u8], line: &[u8], is_unwanted: impl Fn(&[u8]) -> bool) -> Option<usize> {
    let is_unwanted_at = |at: usize| line.get(at..).is_some_and(|it| is_unwanted(name_of(it)));
    // Who ends a line with two bytes at the first of them goes on after a byte that it has not looked at.
    let after_cr = if before.ends_with(b"\r") { 1 } else { 0 };
    let of_front = UNSEEN_LEN.saturating_sub(before.len());
    let at = [0, after_cr, of_front].into_iter().find(|at| is_unwanted_at(*at))?;
    // What is before it has no name of its own then.
    Some(if is_unwanted(name_of(&line[..at])) { 0 } else { at })
}

/// The lines of a block with their ends, as any client may part them: at CR LF, and at either alone.
pub(super) fn pieces(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = block;
    std::iter::from_fn(move || {
        let end = match memchr::memchr2(b'\r', b'\n', rest) {
            Some(at) if rest[at..].starts_with(b"\r\n") => at + 2,
            Some(at) => at + 1,
            None => rest.len(),
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn name_of(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b':').next().unwrap_or_default()
}

/// What is left of a block's lines when those in front are gone that some client would read as more of the
/// line before them. Where the end of the block is in front, to some client what follows it is that as well.
pub(super) fn without_folded_front(lines: &[u8]) -> &[u8] {
    const END: &[u8] = b"\r\n";
    let is_folded = |line: &&[u8]| {
        let first = line.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
        *line != END && first.is_some_and(char::is_whitespace)
    };
    let rest = &lines[pieces(lines).take_while(is_folded).map(<[u8]>::len).sum()..];
    if rest.starts_with(END) { &rest[..END.len()] } else { rest }
}
