"""The main user flows in Debian's Chromium, with an empty console."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from importlib.resources import files

import pytest
from django.db import connections
from django.utils import timezone
from selenium import webdriver
from selenium.common.exceptions import (
    NoSuchFrameException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from analytics.downloads.tasks import run_download
from analytics.tests.versions import company, log_load, ticket
from loaders.jobs import worker
from loaders.models import LoadJob
from loaders.staging import readers
from loaders.staging.progress import Progress
from loaders.tests.lakes import put_parquet
from loaders.tests.thoroughness import THOROUGH
from tenants.models import SlaTarget, Tenant

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="Debian's chromium and chromium-driver are not installed",
    ),
]
OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def browser(tmp_path, live_server):
    options = webdriver.ChromeOptions()
    for option in [*OPTIONS, f"--user-data-dir={tmp_path}"]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.implicitly_wait(10)
    yield driver
    complaints = driver.get_log("browser")
    driver.quit()
    assert complaints == []


def width(browser, pixels):
    size = {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": pixels < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def open_page(browser, link_or_button, key=None):
    """Click it, or press a key on it, and wait for the new page."""
    old = browser.find_element(By.TAG_NAME, "html")
    link_or_button.send_keys(key) if key else link_or_button.click()
    WebDriverWait(browser, 20).until(lambda _: _is_gone(old))


def _is_gone(element):
    """Whether another page has taken its place. ChromeDriver has two ways to say so."""
    try:
        element.is_enabled()
    except StaleElementReferenceException:
        return True
    except WebDriverException as error:
        if "does not belong to the document" not in str(error):
            raise
        return True
    return False


def eventually(browser, looks_right):
    """Wait until a page that refreshes itself looks right, even if it refreshes meanwhile."""
    renewed = [StaleElementReferenceException, NoSuchFrameException]
    WebDriverWait(browser, 20, ignored_exceptions=renewed).until(looks_right)


def log_in(browser, live_server, name, path="/login/"):
    browser.get(live_server.url + path)
    browser.find_element(By.NAME, "username").send_keys(name)
    browser.find_element(By.NAME, "password").send_keys("pass")
    open_page(browser, browser.find_element(By.CSS_SELECTOR, "button[type=submit]"))


@pytest.fixture
def filled(acme, warehouse, put_rows):
    """Two tickets of yesterday: one about a printer, one closed question."""
    then = (timezone.now() - timedelta(days=1)).isoformat()
    put_rows(acme, "companies", [company("1", is_active=True), company("2", is_active=False)])
    opened = {"created_date": then, "company_id": "1"}
    printer = {"summary": "Printer on fire", "priority": "High", "ticket_number": "1001"}
    put_rows(
        acme,
        "tickets",
        [
            ticket("1", then, **printer, **opened),
            ticket("2", then, closed_date=then, actual_hours=2, priority="Low", **opened),
        ],
    )
    for table in ("companies", "tickets"):
        log_load(warehouse, acme, table)


def drawn(browser, count):
    """Wait until `count` charts are drawn, none of them blank."""
    selector = (By.CSS_SELECTOR, "[data-drawn=true] canvas")
    WebDriverWait(browser, 20).until(lambda found: len(found.find_elements(*selector)) == count)
    inks = browser.execute_script(
        "return [...document.querySelectorAll('canvas')].map(c => new Set(c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data).size)"
    )
    assert min(inks) > 10, "a chart is blank"


def no_sideways_scrolling(browser):
    overflow = "return document.documentElement.scrollWidth - window.innerWidth"
    assert browser.execute_script(overflow) <= 0


def figure(browser, slug):
    return browser.find_element(By.CSS_SELECTOR, f"[slot={slug}] .figure").text


def follow(browser, text):
    open_page(browser, browser.find_element(By.LINK_TEXT, text))


def submit(browser, selector):
    open_page(browser, browser.find_element(By.CSS_SELECTOR, selector))


def set_value(browser, name, value):
    field = browser.find_element(By.NAME, name)
    browser.execute_script("arguments[0].value = arguments[1]", field, value)


@pytest.mark.parametrize("pixels", [1440, 390])
def test_a_member_logs_in_changes_the_period_turns_back_and_drills_down(
    browser, live_server, alice, filled, pixels
):
    width(browser, pixels)
    log_in(browser, live_server, "alice")
    drawn(browser, 2)
    no_sideways_scrolling(browser)
    assert figure(browser, "figure-tickets-opened") == "2"
    assert figure(browser, "figure-companies-active") == "1"

    follow(browser, "7 days")
    drawn(browser, 2)
    slot = "[slot=chart-tickets-opened-tickets-closed]"
    browser.find_element(By.CSS_SELECTOR, f"{slot} .figures summary").click()
    assert len(browser.find_elements(By.CSS_SELECTOR, f"{slot} tbody tr")) == 7

    browser.find_element(By.CSS_SELECTOR, ".scope .pick summary").click()
    set_value(browser, "as_of", f"{timezone.now() - timedelta(days=3):%Y-%m-%d}")
    submit(browser, ".scope .panel button")
    assert "You are viewing the data as of" in browser.find_element(By.CSS_SELECTOR, ".banner").text
    assert figure(browser, "figure-tickets-opened") == "0"
    follow(browser, "Back to today")
    assert figure(browser, "figure-tickets-opened") == "2"

    follow(browser, "Open tickets by priority")
    drawn(browser, 1)
    no_sideways_scrolling(browser)
    assert "load #12" in browser.find_element(By.TAG_NAME, "main").text
    follow(browser, "High")
    drawn(browser, 1)
    follow(browser, "See the records")
    no_sideways_scrolling(browser)
    [row] = browser.find_elements(By.CSS_SELECTOR, ".rows tbody tr")
    assert "Printer" in row.text
    row.find_element(By.TAG_NAME, "a").click()
    browser.find_element(By.ID, "history")
    no_sideways_scrolling(browser)
    browser.find_element(By.CSS_SELECTOR, ".account button").click()
    assert browser.find_element(By.NAME, "password")


@pytest.fixture
def missed(acme, filled, put_rows):
    """Two tickets of company 1, of which the slow one missed its target, and one of another."""
    SlaTarget.objects.create(tenant=acme, priority="High", response_hours=1, resolution_hours=4)
    opened = timezone.now() - timedelta(days=2)
    put_rows(acme, "companies", [company("3", name="Möller Pharma AG", is_active=True)])
    for key, company_id, hours in (("quick", "3", 1), ("slow", "3", 30), ("other", "2", 30)):
        times = {
            "created_date": opened.isoformat(),
            "first_response_date": opened,
            "closed_date": (opened + timedelta(hours=hours)).isoformat(),
        }
        more = {"ticket_number": key, "priority": "High", "company_id": company_id}
        more |= {"summary": "Paper jam", "company_name": "Möller Pharma AG"}
        put_rows(acme, "tickets", [ticket(key, opened.isoformat(), **times, **more)])


WAY = ["SLA met", "1, Missed tickets: Möller Pharma AG", "#slow Paper jam"]


def test_from_the_sla_to_a_missed_ticket_of_a_company_in_three_clicks(
    browser, live_server, alice, acme, missed
):
    """Then to the company and another period by the panel, which fetches its values when opened."""
    log_in(browser, live_server, "alice")
    follow(browser, WAY[0])
    drawn(browser, 1)
    open_page(browser, browser.find_element(By.CSS_SELECTOR, f"[aria-label='{WAY[1]}']"))
    [row] = browser.find_elements(By.CSS_SELECTOR, ".rows tbody tr")
    assert "30.0 h" in row.text
    assert "Missed" in row.text
    assert "Company: " in browser.find_element(By.CSS_SELECTOR, ".chips").text
    no_sideways_scrolling(browser)
    # Anywhere in the row leads to the record, except for the links in it.
    old = browser.find_element(By.TAG_NAME, "html")
    last = row.find_element(By.CSS_SELECTOR, "td:last-child")
    ActionChains(browser).move_to_element(last).click().perform()
    WebDriverWait(browser, 20).until(lambda _: _is_gone(old))
    assert browser.find_element(By.TAG_NAME, "h1").text == WAY[2]
    no_sideways_scrolling(browser)
    follow(browser, "Missed tickets")
    follow(browser, "Möller Pharma AG")
    drawn(browser, 1)
    assert figure(browser, "figure-sla-met") == "50.0 %"
    no_sideways_scrolling(browser)
    browser.find_element(By.CSS_SELECTOR, ".scope .pick summary").click()
    WebDriverWait(browser, 20).until(
        lambda found: found.find_elements(By.CSS_SELECTOR, "select[name=board] option")
    )
    assert not browser.find_elements(By.CSS_SELECTOR, "select[name=company]")
    Select(browser.find_element(By.NAME, "priority")).select_by_value("High")
    submit(browser, ".scope .panel button")
    assert figure(browser, "figure-tickets-opened") == "2"


def test_from_the_sla_to_a_missed_ticket_by_keyboard_and_from_a_bar_to_its_day(
    browser, live_server, alice, acme, missed
):
    log_in(browser, live_server, "alice")
    for name in WAY:
        tab_to(browser, name)
        open_page(browser, browser.switch_to.active_element, Keys.ENTER)
    assert browser.find_element(By.TAG_NAME, "h1").text == WAY[2]
    browser.get(f"{live_server.url}/t/{acme.id}/")
    spec = "chart-tickets-opened-tickets-closed-spec"
    drawing = browser.find_element(By.CSS_SELECTOR, f"[data-spec={spec}][data-drawn=true]")
    old = browser.find_element(By.TAG_NAME, "html")
    right = drawing.size["width"] // 2 - 8
    ActionChains(browser).move_to_element_with_offset(drawing, right, 40).click().perform()
    WebDriverWait(browser, 20).until(lambda _: _is_gone(old))
    today = f"{timezone.now().astimezone(acme.zone):%Y-%m-%d}"
    assert f"/figures/tickets_closed/?start={today}&end={today}" in browser.current_url


def tab_to(browser, name):
    """Press the Tab key until a link with this name has the focus."""
    for _ in range(200):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        if browser.switch_to.active_element.accessible_name == name:
            return
    raise AssertionError(f"no way to {name} by keyboard")


def test_a_figure_by_two_dimensions_is_a_heat_map(browser, live_server, alice, acme, filled):
    log_in(browser, live_server, "alice", f"/t/{acme.id}/figures/tickets_opened/")
    first, second = browser.find_elements(By.CSS_SELECTOR, ".breakdown-form select")
    Select(first).select_by_value("weekday")
    Select(second).select_by_value("hour")
    submit(browser, ".breakdown-form button")
    drawn(browser, 2)
    assert browser.find_element(By.ID, "breakdown").text == "By weekday and hour"


def test_records_are_searched_filtered_and_exported(
    browser, live_server, alice, acme, filled, tmp_path
):
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    log_in(browser, live_server, "alice")
    follow(browser, "Explore")
    browser.find_element(By.NAME, "q").send_keys("printer")
    submit(browser, ".find button")
    assert "1 record" in browser.find_element(By.CSS_SELECTOR, ".head").text
    browser.find_elements(By.CSS_SELECTOR, ".bench .pick summary")[0].click()
    Select(browser.find_element(By.NAME, "column")).select_by_value("priority")
    browser.find_element(By.NAME, "value").send_keys("Low")
    submit(browser, ".bench .panel button")
    assert "No records match" in browser.find_element(By.TAG_NAME, "main").text
    submit(browser, ".chips a")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".rows tbody tr")) == 1
    browser.find_element(By.LINK_TEXT, "CSV").click()
    file = tmp_path / f"{acme.id}-tickets.csv"
    WebDriverWait(browser, 20).until(lambda _: file.exists())
    assert "Printer" in file.read_text()


def test_a_long_list_is_prepared_while_the_page_shows_how_far_it_is(
    browser, live_server, alice, acme, filled, tmp_path, settings, sent_tasks
):
    settings.DOWNLOAD_JOB_ROWS = 1
    options = {"location": str(tmp_path / "made")}
    settings.STORAGES = settings.STORAGES | {
        "downloads": settings.STORAGES["downloads"] | {"OPTIONS": options}
    }
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    log_in(browser, live_server, "alice", f"/login/?next=/t/{acme.id}/explore/tickets/")
    follow(browser, "XLSX")
    submit(browser, "main form button")
    assert "Waiting" in browser.find_element(By.ID, "downloads").text
    (key,) = (task[1] for task in sent_tasks if task[0] == run_download.name)
    assert run_download(key) == "ready"
    button = browser.find_element(By.LINK_TEXT, "Download")  # once the page has renewed itself
    button.click()
    file = tmp_path / f"{acme.id}-tickets.xlsx"
    WebDriverWait(browser, 20).until(lambda _: file.exists())


def test_hovering_over_a_day_shows_its_figures(browser, live_server, alice, filled):
    log_in(browser, live_server, "alice")
    spec = "chart-tickets-opened-tickets-closed-spec"
    drawing = browser.find_element(By.CSS_SELECTOR, f"[data-spec={spec}][data-drawn=true]")
    right = drawing.size["width"] // 2 - 30
    for x in (right, right - 12, right - 24):
        ActionChains(browser).move_to_element_with_offset(drawing, x, 40).perform()
        tooltip = browser.find_element(By.CSS_SELECTOR, "#vg-tooltip-element.visible").text
        assert "Tickets opened" in tooltip
    box = browser.execute_script(
        "const {left, top} = document.querySelector('#vg-tooltip-element').getBoundingClientRect();"
        "return [left, top]"
    )
    assert min(box) > 50, "the tooltip is in the corner, not at the pointer"


def test_without_javascript_the_figures_are_in_tables(browser, live_server, alice, filled):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    log_in(browser, live_server, "alice")
    assert figure(browser, "figure-tickets-opened") == "2"
    assert len(browser.find_elements(By.CSS_SELECTOR, ".figures table")) == 2
    first, last = (
        browser.find_element(By.CSS_SELECTOR, f"[slot={slug}]").rect["y"]
        for slug in ("figure-tickets-opened", "parts-tickets-by-company")
    )
    assert first < last, "tiles are in their slots, in any order of arrival"


PAGES = [
    "",
    "board/service/?technician=Ann&as_of=2026-06-20",
    "figures/",
    "figures/backlog_by_priority/",
    "explore/tickets/?where=status~is~New",
    "explore/tickets/1/",
    "explore/companies/1/",
    "companies/1/",
    "explore/tickets/nope/",
    "downloads/",
    "?start=wrong",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(browser, live_server, alice, acme, filled, scheme):
    source = (files("axe_core_python") / "axe.min.js").read_text()
    preference = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})
    found = {}
    browser.get(f"{live_server.url}/login/")
    found["login"] = complaints_of(browser, source)
    log_in(browser, live_server, "alice")
    # Only colors differ by scheme.
    for page in PAGES if scheme == "light" or THOROUGH else PAGES[:3]:
        browser.get(f"{live_server.url}/t/{acme.id}/{page}")
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        found[page] = complaints_of(browser, source)
    browser.get_log("browser")  # missing pages are logged there
    assert {page: complaints for page, complaints in found.items() if complaints} == {}


def complaints_of(browser, axe):
    browser.execute_script(axe)
    result = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    return [
        (each["id"], each["nodes"][0]["html"][:200])
        for each in result["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def test_an_empty_tenant_is_welcomed(browser, live_server, alice, acme, warehouse):
    width(browser, 390)
    log_in(browser, live_server, "alice")
    assert "Welcome to AVESA" in browser.find_element(By.TAG_NAME, "h1").text
    no_sideways_scrolling(browser)


@pytest.fixture
def gate(monkeypatch, sent_tasks):
    """Loads wait in the middle of reading until this is set. No message is sent."""
    opened = threading.Event()
    read = Progress.read

    def stop_there(progress):
        while not opened.wait(0.1):
            progress.step("Staging, slowly")  # which ends it if it was canceled
        read(progress)

    monkeypatch.setattr(Progress, "read", stop_there)
    monkeypatch.setattr(readers, "FILES_PER_STATEMENT", 1)
    monkeypatch.setattr(worker, "PROGRESS_SECONDS", 0.2)
    yield opened
    opened.set()


def test_staff_create_a_tenant_load_it_watch_cancel_and_retry(
    browser, live_server, dora, warehouse, lake, gate
):
    log_in(browser, live_server, "dora", "/admin/login/?next=/admin/")
    admin = live_server.url + "/admin"
    for pixels, name in ((1440, "initech"), (390, "hooli")):
        width(browser, pixels)
        _deliver_two_files(lake, Tenant(id=name))
        _create_tenant(browser, f"{admin}/tenants/tenant/add/", name)
        job = _start_load(browser, f"{admin}/loaders/loadjob/start/", name)
        browser.get(f"{admin}/loaders/loadjob/{job.pk}/change/")
        with at_work(gate) as running:
            _watch(browser, "of", "in 2 files")
            assert browser.execute_script("return document.querySelector('progress').max") == 100
            no_sideways_scrolling(browser)
            _press(browser, "Cancel this load", "was canceled")
            assert running.result(20) is None
        job.refresh_from_db()
        assert job.state == LoadJob.State.CANCELED
        _press(browser, "Load again", "is queued")
        with at_work(gate) as running:
            gate.set()
            assert running.result(30) == LoadJob.State.SUCCEEDED
        _watch(browser, "Succeeded", "100 new")
        no_sideways_scrolling(browser)


def _deliver_two_files(lake, tenant):
    for number in range(2):
        rows = [{"id": f"{number}-{row}"} for row in range(50)]
        put_parquet(lake, tenant, "companies", f"{number}.parquet", rows)


def _create_tenant(browser, url, name):
    browser.get(url)
    browser.find_element(By.NAME, "id").send_keys(name)
    browser.find_element(By.NAME, "name").send_keys(name.title())
    open_page(browser, browser.find_element(By.NAME, "_save"))


def _start_load(browser, url, name):
    """Of the first table only."""
    browser.get(url)
    browser.find_element(By.CSS_SELECTOR, f"input[value={name}]").click()
    for box in browser.find_elements(By.CSS_SELECTOR, "input[name=tables]:checked")[1:]:
        box.click()
    submit = "main button[type=submit], #main button[type=submit]"
    open_page(browser, browser.find_element(By.CSS_SELECTOR, submit))
    assert "QUEUED" in browser.find_element(By.ID, "result_list").text.upper()
    return LoadJob.objects.get(tenant=name)


def _press(browser, button, answer):
    open_page(browser, browser.find_element(By.XPATH, f"//button[contains(., '{button}')]"))
    assert answer in browser.find_element(By.TAG_NAME, "body").text


@contextmanager
def at_work(gate):
    """A worker runs the next load, which always ends with the block."""
    gate.clear()
    with ThreadPoolExecutor(1) as worker:
        try:
            yield worker.submit(work)
        finally:
            gate.set()


def work():
    try:
        return worker.run_next()
    finally:
        connections.close_all()


def _watch(browser, *texts):
    """Wait until the page shows these texts; it refreshes itself when its load ends."""

    def shows(page):
        seen = page.find_element(By.TAG_NAME, "body").text
        return all(text in seen for text in texts)

    eventually(browser, shows)


def test_a_report_is_composed_with_a_live_preview_and_tried_out(
    browser, live_server, filled, alice, acme, sent_tasks
):
    width(browser, 1440)
    log_in(browser, live_server, "alice", f"/login/?next=/t/{acme.id}/reports/new/")
    browser.find_element(By.NAME, "name").send_keys("Printers")
    Select(browser.find_element(By.NAME, "dashboard")).select_by_visible_text("Tiles I choose")
    Select(browser.find_element(By.NAME, "period")).select_by_value("last-7-days")
    Select(browser.find_element(By.NAME, "tiles-0-tile")).select_by_value("chart:tickets_opened")
    eventually(browser, _preview_shows_all)
    assert not browser.find_element(By.NAME, "day").is_displayed()
    Select(browser.find_element(By.NAME, "frequency")).select_by_value("monthly")
    Select(browser.find_element(By.NAME, "day")).select_by_visible_text("Last day")
    browser.find_element(By.CSS_SELECTOR, ".members input").click()
    open_page(browser, browser.find_element(By.XPATH, "//button[text()='Save']"))
    assert "Last day of every month" in browser.find_element(By.TAG_NAME, "main").text
    open_page(browser, browser.find_element(By.XPATH, "//button[text()='Send me a test now']"))
    assert "A test is on its way" in browser.find_element(By.TAG_NAME, "main").text
    for pixels in (1440, 390):
        width(browser, pixels)
        no_sideways_scrolling(browser)


def _preview_shows_all(browser):
    """The report's name, its first page as in the PDF, and the mail with its chart."""
    browser.switch_to.default_content()
    browser.switch_to.frame("preview")
    name = browser.find_element(By.TAG_NAME, "header").text
    page = browser.find_element(By.CSS_SELECTOR, "img[alt='Page 1']").size["width"]
    browser.switch_to.frame(browser.find_element(By.CSS_SELECTOR, "iframe"))
    chart = browser.find_element(By.CSS_SELECTOR, "img[alt^='Tickets opened: ']")
    drawn = browser.execute_script("return arguments[0].naturalWidth", chart)
    browser.switch_to.default_content()
    return "Printers" in name and page > 100 and drawn > 400


def test_why_a_number_changed(browser, live_server, alice, acme, warehouse, put_rows):
    """From the banner of an as-of date to the ticket that made the difference."""
    now = timezone.now()
    opened = (now - timedelta(days=5)).isoformat()
    put_rows(acme, "tickets", [
        ticket("1", opened, created_date=opened),
        ticket("2", (now - timedelta(days=1)).isoformat(), created_date=opened),
    ])  # fmt: skip
    log_in(browser, live_server, "alice")
    day = f"{now - timedelta(days=3):%Y-%m-%d}"
    browser.get(f"{live_server.url}/t/{acme.id}/figures/backlog/?as_of={day}")
    open_page(browser, browser.find_element(By.CSS_SELECTOR, ".banner a"))
    assert "1 record makes the difference: +1" in browser.find_element(By.ID, "causes").text
    for pixels in (1440, 390):
        width(browser, pixels)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= pixels
    width(browser, 1440)
    open_page(browser, browser.find_element(By.CSS_SELECTOR, ".differences a"))
    assert "Ticket 2" in browser.find_element(By.TAG_NAME, "h1").text
