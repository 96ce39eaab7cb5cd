//! JSON straight into rows: bytes become cells of the wanted fields; nothing else is built.
