//! Plain English words from which generated texts are made.

use rand::{Rng, RngExt};

/// Short, frequent words: most vocabularies have each as one token with the space before it.
pub(super) const WORDS: [&str; 163] = [
    "able", "about", "after", "again", "air", "all", "also", "and", "any", "area", "as", "at", "back", "base", "be",
    "best", "big", "book", "both", "but", "by", "call", "can", "car", "case", "city", "class", "code", "come", "cost",
    "data", "date", "day", "do", "each", "early", "east", "end", "even", "fact", "far", "few", "find", "first", "food",
    "for", "form", "free", "from", "full", "game", "get", "give", "go", "good", "group", "hand", "have", "head",
    "help", "high", "home", "hour", "how", "idea", "if", "in", "into", "is", "item", "job", "just", "keep", "key",
    "kind", "know", "land", "large", "last", "late", "lead", "left", "life", "line", "list", "local", "long", "look",
    "main", "make", "many", "map", "may", "mean", "more", "most", "move", "much", "must", "name", "near", "need",
    "new", "next", "night", "no", "note", "now", "number", "of", "off", "old", "on", "one", "only", "open", "or",
    "order", "other", "out", "over", "own", "page", "part", "pay", "people", "place", "plan", "point", "price", "put",
    "rate", "read", "real", "right", "road", "room", "same", "see", "send", "set", "show", "side", "size", "so",
    "some", "state", "such", "take", "team", "term", "text", "than", "that", "the", "then", "time", "to", "two",
    "type", "up", "use", "way",
];

/// One word.
pub(super) fn word(rng: &mut impl Rng) -> &'static str {
    WORDS[rng.random_range(0..WORDS.len())]
}

/// Appends words, each with a space before it, until `text` has at least `bytes` bytes.
pub(super) fn append_words(text: &mut String, bytes: usize, rng: &mut impl Rng) {
    while text.len() < bytes {
        text.push(' ');
        text.push_str(word(rng));
    }
}
