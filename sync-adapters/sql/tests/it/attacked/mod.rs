//! Tables, letters and listings under attack: at once, from several sides, and while things break.

mod apart;
mod changed;
mod cut_off;
mod dry;
mod letters;
mod odd_targets;
mod rehearsed;
mod sources;
mod swept;
mod together;
mod waits;
mod walked;
