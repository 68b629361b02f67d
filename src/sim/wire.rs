//! What a NATS server sends, read without any leniency: one blank, upper case, CR LF, sizes without leading
//! zeros. Independent of the gateway's own codec.

use super::faults::Check;

/// One op of a server.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerOp<'a> {
    Info(&'a [u8]),
    Message { subject: &'a [u8], sid: u32, reply: &'a [u8], header: &'a [u8], payload: &'a [u8] },
    Ok,
    Err(&'a [u8]),
    Ping,
    Pong,
}

/// Hears the whole ops of what has come, or why there is none to be read, and keeps the rest.
pub fn hear_ops(
    unread: &mut Vec<u8>,
    bytes: &[u8],
    mut hear: impl FnMut(Result<ServerOp<'_>, String>) -> Check,
) -> Check {
    unread.extend_from_slice(bytes);
    let mut n_read = 0;
    loop {
        match parse(&unread[n_read..]) {
            Ok(Some((op, n))) => {
                hear(Ok(op))?;
                n_read += n;
            }
            Ok(None) => break,
            Err(what) => return hear(Err(what)),
        }
    }
    unread.drain(..n_read);
    Ok(())
}

/// Reads the first op and its length; `None` while it is not whole.
pub fn parse(input: &[u8]) -> Result<Option<(ServerOp<'_>, usize)>, String> {
    let Some(line_len) = input.windows(2).position(|pair| pair == b"\r\n") else {
        return if input.len() > 8_192 { Err(wrong(input, "a line without end")) } else { Ok(None) };
    };
    let line = &input[..line_len];
    let n_line = line_len + 2;
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let op = match words[0] {
        b"PING" if line.len() == 4 => ServerOp::Ping,
        b"PONG" if line.len() == 4 => ServerOp::Pong,
        b"+OK" if line.len() == 3 => ServerOp::Ok,
        b"-ERR" => ServerOp::Err(&line[4..]),
        b"INFO" => ServerOp::Info(&line[5..]),
        b"MSG" => {
            let (reply, size): (&[u8], _) = match words.len() {
                4 => (b"", words[3]),
                5 => (words[3], words[4]),
                _ => return Err(wrong(line, "arguments of MSG")),
            };
            return body(input, n_line, &words, reply, (0, number(line, size)?));
        }
        b"HMSG" => {
            let (reply, header, size): (&[u8], _, _) = match words.len() {
                5 => (b"", words[3], words[4]),
                6 => (words[3], words[4], words[5]),
                _ => return Err(wrong(line, "arguments of HMSG")),
            };
            return body(input, n_line, &words, reply, (number(line, header)?, number(line, size)?));
        }
        _ => return Err(wrong(line, "an unknown op")),
    };
    Ok(Some((op, n_line)))
}

fn body<'a>(
    input: &'a [u8],
    start: usize,
    words: &[&'a [u8]],
    reply: &'a [u8],
    (header_len, size): (usize, usize),
) -> Result<Option<(ServerOp<'a>, usize)>, String> {
    let end = start + size;
    if header_len > size {
        return Err(wrong(&input[..start], "a header longer than all"));
    }
    if input.len() < end + 2 {
        return Ok(None);
    }
    if &input[end..end + 2] != b"\r\n" {
        return Err(wrong(&input[..start], "no CR LF after the payload"));
    }
    let (header, payload) = input[start..end].split_at(header_len);
    let sid = number(words[2], words[2])? as u32;
    Ok(Some((ServerOp::Message { subject: words[1], sid, reply, header, payload }, end + 2)))
}

fn number(line: &[u8], text: &[u8]) -> Result<usize, String> {
    let is_plain = text == b"0" || !text.starts_with(b"0");
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.filter(|_| is_plain).ok_or_else(|| wrong(line, "a number"))
}

fn wrong(line: &[u8], what: &str) -> String {
    format!("{what} in {:?}", String::from_utf8_lossy(&line[..line.len().min(100)]))
}
