//! Tables, letters and listings under attack: at once, from several sides, and while things break.

mod letters;
mod swept;
