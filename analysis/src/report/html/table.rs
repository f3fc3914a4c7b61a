//! Tables that can be sorted, and the numbers behind a figure as a file.

use maud::{Markup, html};

use super::links::data_address;

/// A column's head.
pub struct Column {
    /// What stands over the column.
    pub title: String,
    /// Whether its cells are numbers.
    pub numeric: bool,
}

impl Column {
    /// A column of text.
    pub fn text(title: impl Into<String>) -> Self {
        Self { title: title.into(), numeric: false }
    }

    /// A column of numbers.
    pub fn number(title: impl Into<String>) -> Self {
        Self { title: title.into(), numeric: true }
    }
}

/// A field: what is shown and what it is sorted by.
pub struct Field {
    /// What is shown.
    pub shown: Markup,
    /// What it is sorted by, when that is not the shown text.
    pub sorted_by: Option<String>,
}

impl Field {
    /// A text.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self { shown: html! { (text.as_ref()) }, sorted_by: None }
    }

    /// A number with the text that shows it.
    pub fn number(value: f64, shown: &str) -> Self {
        Self { shown: html! { (shown) }, sorted_by: Some(value.to_string()) }
    }

    /// Nothing.
    pub fn none() -> Self {
        Self { shown: html! { span class="faint" { "–" } }, sorted_by: Some(String::new()) }
    }
}

/// A table whose columns sort on a click.
pub fn table(caption: &str, columns: &[Column], rows: &[Vec<Field>]) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="group" aria-label=(caption) {
            table class="sortable" {
                caption { (caption) }
                thead { tr {
                    @for column in columns {
                        th scope="col" class=[column.numeric.then_some("number")] {
                            button type="button" { (column.title) }
                        }
                    }
                } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (field, column) in row.iter().zip(columns) {
                                td class=[column.numeric.then_some("number")] data-value=[field.sorted_by.as_ref()] {
                                    (field.shown)
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A link that saves a table as a CSV file; `name` is what it is called for those who do not see where it stands.
pub fn csv_link(file_name: &str, name: &str, csv: &str) -> Markup {
    html! {
        a class="download" download=(file_name) aria-label=(name) href=(data_address("text/csv", csv)) {
            "Numbers as CSV"
        }
    }
}
