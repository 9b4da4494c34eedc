//! Puts right what tonic says of calls that never reach a method of ours.
//!
//! It answers INTERNAL when a body ends in the middle of a message, holds none, can not be unpacked
//! or flags a compression that nobody named; but an operator who is woken by INTERNAL should find a
//! defect of the server, not of a client. It answers RESOURCE_EXHAUSTED, which says "come back
//! later", to a message that unpacks to more than the limit. And to an unknown method it says
//! UNIMPLEMENTED without a word.

use http::Response;
use tonic::{Code, Status};

/// How tonic's own texts for broken request frames begin. `tests/grpc.rs` holds them to that.
const FRAME_ERRORS: [&str; 4] = [
    "Error decompressing: ",
    "Unexpected EOF decoding stream",
    "Missing request message",
    "protocol error: received message with",
];

/// INVALID_ARGUMENT in place of INTERNAL where the frame was the caller's; a text where none was.
pub fn put_right<B: Default>(response: Response<B>) -> Response<B> {
    let headers = response.headers();
    let unimplemented = headers.get(Status::GRPC_STATUS).is_some_and(|code| code == "12");
    if unimplemented && !headers.contains_key(Status::GRPC_MESSAGE) {
        return Status::unimplemented("this server has no such service or method").into_http();
    }
    // tonic leaves the status of a refused call beside the headers that it wrote from it.
    match response.extensions().get::<Status>() {
        Some(status) if is_frame_error(status) => {
            Status::invalid_argument(status.message()).into_http()
        }
        Some(status) if is_bomb(status) => Status::out_of_range(status.message()).into_http(),
        _ => response,
    }
}

fn is_bomb(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted
        && status.message().starts_with("Error decompressing: size limit")
}

fn is_frame_error(status: &Status) -> bool {
    status.code() == Code::Internal
        && FRAME_ERRORS.iter().any(|text| status.message().starts_with(text))
}
