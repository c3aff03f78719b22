"""Running commands: the form, what is shown while they run, what becomes of them."""

from __future__ import annotations

import re
import time

from playwright.sync_api import Page, expect
from tests.browser.conftest import NewPage, signed_in
from tests.browser.laboratory import USER, USER_PASSWORD, Laboratory


def run(page: Page, command: str) -> None:
    page.get_by_label("Command line").fill(command)
    page.get_by_role("button", name="Run", exact=True).click()


def test_a_job_from_a_dataset_to_a_dataset(page: Page, lab: Laboratory):
    number = lab.put("fruits.txt", b"pear\napple\npear\n")
    page.goto(f"/datasets/{number}")
    page.get_by_role("link", name="Use in a job").click()
    expect(page.get_by_label("Dataset for input1")).to_have_value(f"{number} fruits.txt")
    run(page, "sort {input1} | uniq -c > {output:counted.txt}")
    page.wait_for_url(re.compile(r"/jobs/\d+$"))
    status = page.locator("#job [role=status]")
    expect(status).to_contain_text("ok", timeout=20_000)
    expect(status).to_contain_text("exit code 0")
    expect(page.get_by_label("Command")).to_have_text("sort {input1} | uniq -c > {output:counted.txt}")
    page.get_by_role("link", name="counted.txt").click()
    expect(page.locator("pre")).to_contain_text(re.compile(r"1 apple\s+2 pear"))
    made = lab.dataset("counted.txt")
    expect(page.locator("#full-path")).to_have_text(f"{lab.newdata}/000/dataset_{made['id']}.dat")
    page.get_by_role("link", name=f"Job {made['job_id']}").click()
    expect(page.get_by_role("link", name="fruits.txt")).to_be_visible()


def test_output_is_seen_while_it_runs(page: Page, lab: Laboratory):
    page.goto("/jobs")
    run(page, "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.5; done; echo oh >&2")
    page.wait_for_url(re.compile(r"/jobs/\d+$"))
    output = page.locator("#stdout")
    expect(output).to_contain_text("line 2", timeout=20_000)
    assert "line 6" not in output.inner_text()
    expect(page.locator("#job [role=status]")).to_contain_text("running")
    expect(output).to_contain_text("line 6", timeout=20_000)
    expect(page.locator("#stderr")).to_contain_text("oh")
    expect(page.locator("#job [role=status]")).to_contain_text("ok", timeout=10_000)
    assert page.locator("#job[hx-get]").count() == 0, "nobody asks any more"


def test_cancel(page: Page, lab: Laboratory):
    page.goto("/jobs")
    run(page, "sleep 300 & sleep 300")
    expect(page.locator("#job [role=status]")).to_contain_text("running", timeout=20_000)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#job [role=status]")).to_contain_text("cancelled", timeout=20_000)


def test_a_failure_is_told_with_what_it_wrote(page: Page, lab: Laboratory):
    page.goto("/jobs")
    run(page, "echo 'no such genome' >&2; exit 3")
    expect(page.locator("#job [role=status]")).to_contain_text("failed", timeout=20_000)
    expect(page.locator("#job [role=status]")).to_contain_text("exit code 3")
    expect(page.locator("#stderr")).to_contain_text("no such genome")
    page.get_by_role("link", name="Run again…").click()
    expect(page.get_by_label("Command line")).to_have_value("echo 'no such genome' >&2; exit 3")


def test_mistakes_are_said_and_nothing_that_was_typed_is_lost(page: Page, lab: Laboratory):
    page.goto("/jobs")
    page.get_by_label("Dataset for input1").fill("no such dataset")
    run(page, "sort {input1} > {output:x}")
    expect(page.get_by_role("alert")).to_contain_text("no dataset 'no such dataset'")
    expect(page.get_by_label("Command line")).to_have_value("sort {input1} > {output:x}")
    expect(page.get_by_label("Dataset for input1")).to_have_value("no such dataset")
    page.get_by_label("Dataset for input1").fill("")
    run(page, "sort {input1}")
    expect(page.get_by_role("alert")).to_contain_text("there are no inputs")
    run(page, "echo 'open")
    expect(page.get_by_role("alert")).to_contain_text("quote")


def test_inputs_are_found_by_typing(page: Page, lab: Laboratory):
    first, second = lab.put("alpha-reads.txt", b"A\n"), lab.put("beta-reads.txt", b"B\n")
    page.goto("/jobs")
    page.get_by_label("Dataset for input1").press_sequentially("alpha-r", delay=20)
    expect(page.locator("#recent option")).to_have_count(1)
    assert page.locator("#recent option").get_attribute("value") == f"{first} alpha-reads.txt"
    page.get_by_label("Dataset for input1").fill("alpha-reads.txt")
    page.get_by_role("button", name="Another input").click()
    expect(page.get_by_label("Dataset for input2")).to_be_focused()
    page.get_by_label("Dataset for input2").fill(str(second))
    run(page, "cat {input2} {input1}")
    expect(page.locator("#stdout")).to_have_text(re.compile(r"B\s+A"), timeout=20_000)


def test_outputs_go_to_the_pool_that_was_asked_for(page: Page, lab: Laboratory):
    page.goto("/jobs")
    page.get_by_label("Pool for the outputs").select_option("olddata")
    page.get_by_label("More outputs").fill("made.txt")
    run(page, "pwd > made.txt")
    expect(page.locator("#job [role=status]")).to_contain_text("ok", timeout=20_000)
    made = lab.dataset("made.txt")
    body = lab.olddata / "000" / f"dataset_{made['id']}.dat"
    assert body.read_text().startswith(f"{lab.olddata}/job_work_dir/")


def test_what_a_terminal_would_show(page: Page, lab: Laboratory):
    page.goto("/jobs")
    run(page, r"""printf 'a\033[31mred\033[0m\n10%%\r100%%\nbell\007 <b>bold</b>\n'""")
    expect(page.locator("#stdout")).to_contain_text("<b>bold</b>", timeout=20_000)
    text = page.locator("#stdout").inner_text()
    assert text.splitlines()[:2] == ["ared", "100%"]


def test_jobs_of_others_do_not_exist(page: Page, lab: Laboratory, new_page: NewPage):
    page.goto("/jobs")
    run(page, "echo private")
    page.wait_for_url(re.compile(r"/jobs/\d+$"))
    other = signed_in(new_page(lab), USER, USER_PASSWORD)
    answer = other.goto(page.url)
    assert answer is not None
    assert answer.status == 404
    other.goto("/jobs")
    expect(other.get_by_role("heading", name="No jobs yet")).to_be_visible()


def test_a_page_that_loses_the_server_says_so_and_goes_on(own_lab: Laboratory, new_page: NewPage):
    page = signed_in(new_page(own_lab))
    page.goto("/jobs")
    own_lab.kill()
    expect(page.get_by_text("The connection to Holdfast is lost.")).to_be_visible(timeout=10_000)
    own_lab.start()
    expect(page.get_by_text("The connection to Holdfast is lost.")).to_have_count(0, timeout=15_000)
    began = time.monotonic()
    run(page, "echo here again")
    expect(page.locator("#stdout")).to_contain_text("here again", timeout=20_000)
    assert time.monotonic() - began < 20
