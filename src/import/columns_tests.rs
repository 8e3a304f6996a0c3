//! How columns are mapped.

use super::*;

fn mapped(
    header: &str,
    row: &str,
    named: &[(&str, &str)],
    template: &str,
) -> Result<(Sheet, Columns), Vec<String>> {
    let sheet = Sheet::read(&format!("{header}\n{row}\n"), None).unwrap();
    let named: Vec<_> = named.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let template = Template::parse("hello.txt", template).unwrap();
    let columns = Columns::map(&sheet, &named, &[&template])?;
    Ok((sheet, columns))
}

fn guesses(columns: &Columns) -> Vec<String> {
    columns.guesses.iter().map(|(field, column)| format!("{field} <- {column}")).collect()
}

#[test]
fn columns_are_guessed_by_their_names() {
    let find_tool = "first_name,last_name,linkedin_url,company,headline";
    let (sheet, columns) =
        mapped(find_tool, "Jane,Doe,u,Acme,CTO", &[], "{{ first_name }} {{ company }} {{ headline }}")
            .unwrap();
    assert_eq!(guesses(&columns), ["user <- linkedin_url"]);
    let cells = columns.cells(&sheet.rows[0]);
    assert_eq!(cells.iter().map(|cell| cell.text).collect::<Vec<_>>(), ["Acme", "Jane", "CTO"]);
    let (_, columns) = mapped(
        "Vorname,LinkedIn Profil,Profile URL,Account,Company Name,Provider ID",
        "Jane,a,b,Acme Inc,Acme,ACoA1",
        &[],
        "{{ first_name }} {{ company }}",
    )
    .unwrap();
    assert_eq!(
        guesses(&columns),
        ["user <- Provider ID", "company <- Company Name", "first_name <- Vorname"]
    );
    assert_eq!(columns.account, None, "the name of a company");
    let (_, columns) = mapped("user,account", "u,acc_1", &[], "x").unwrap();
    assert_eq!((columns.account, guesses(&columns)), (Some(1), vec![]));
    let (_, columns) = mapped("chat_id", "c", &[], "x").unwrap();
    assert_eq!((columns.user, columns.chat), (None, Some(0)));
}

#[test]
fn the_user_says_which_column_it_is() {
    let (_, columns) =
        mapped("A,B,user", "1,2,3", &[("user", "b"), ("first_name", "A")], "{{ first_name }}").unwrap();
    assert_eq!(guesses(&columns), ["user <- B", "first_name <- A"]);
    for (named, told) in [
        (("user", "C"), "`--column user=C` names no column"),
        (("usr", "A"), "did you mean `user`?"),
        (("city", "A"), "nothing uses `city`"),
    ] {
        let refused = mapped("A,B,user", "1,2,3", &[named], "x").unwrap_err();
        assert!(refused.iter().any(|line| line.contains(told)), "{refused:?}");
    }
}

#[test]
fn what_cannot_be_mapped_is_refused_before_the_first_row() {
    for (header, template, told) in [
        ("name,mail", "x", "no column names the person"),
        ("user,first_name", "{{ frist_name }}", "did you mean `first_name`?"),
        ("user,first_name", "{{ zodiac }}", "`--column zodiac=COLUMN`"),
        (
            "user,First Name,first_name",
            "{{ first_name }}",
            "column 2, \"First Name\", and column 3, \"first_name\", mean the same",
        ),
    ] {
        let refused = mapped(header, "1,2", &[], template).unwrap_err();
        assert!(refused.iter().any(|line| line.contains(told)), "{refused:?}");
    }
    mapped("user,City,city", "1,2,3", &[], "x").unwrap();
}

#[test]
fn names_of_columns_become_variables() {
    for (name, variable) in [
        ("First Name", "first_name"),
        ("firstName", "first_name"),
        ("LinkedIn URL", "linked_in_url"),
        (" Prénom ", "prenom"),
        ("E-Mail (work)", "e_mail_work"),
    ] {
        assert_eq!(normal(name), variable);
    }
}
