//! Real text to measure on: experts are chosen, and caches filled, as text does it and random tokens do not.

use deltascope_model::Model;

const TEXT: &str = "An iterator adapter takes an iterator and returns another one. Adapters are lazy: nothing \
    happens until a consumer asks for the next item. The `map` adapter calls a closure on every item, `filter` keeps \
    those for which a predicate holds, and `chain` goes on with a second iterator where the first has ended.\n";

/// So many tokens of it, again from the start where it ends. Zeros if the vocabulary has none of it.
pub fn tokens(model: &Model, n: usize) -> Vec<u32> {
    let once = model.tokenizer.encode(TEXT, false).unwrap_or_default();
    if once.is_empty() { vec![0; n] } else { once.into_iter().cycle().take(n).collect() }
}
